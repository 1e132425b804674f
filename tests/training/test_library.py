"""The library as a Python program uses it: docs/library.md."""

import re
import runpy
from pathlib import Path

from tests.small_runs import open_policy, small_config
from treegrpo.rewards import registry
from treegrpo.rewards.jpeg import JpegCompressibility
from treegrpo.run import lora_file
from treegrpo.run.folder import RunFolder
from treegrpo.training import save_lora, train

ROOT = Path(__file__).parents[2]
REWARDS = [(JpegCompressibility(), 1.0)]


def test_the_documented_program_learns_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    file, here = tmp_path / "program.py", tmp_path / "here"
    file.write_text(program, encoding="utf-8")
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(registry, "REGISTERED", {})
    runpy.run_path(str(file), run_name="__main__")
    rewards = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(rewards) == 6
    assert max(rewards[-3:]) > rewards[0] + 0.1
    assert list(here.iterdir()) == []


def with_heldout(config):
    evaluation = config.evaluation.model_copy(update={"every": 2, "prompts": ["bell", "owl"]})
    return config.model_copy(update={"evaluation": evaluation})


def test_a_run_without_a_folder_is_the_run_with_one(tmp_path):
    """Reports with their held-out rewards, prompts from the config, and the LoRA that it comes to."""
    config = with_heldout(small_config(tmp_path, iterations=2))
    config = config.model_copy(update={"update": config.update.model_copy(update={"ema": None})})
    policies = [open_policy(rank=config.lora.rank, alpha=config.lora.alpha) for _ in range(2)]
    bare = list(train(policies[0], REWARDS, config))
    with RunFolder(tmp_path / "run") as folder:
        kept = list(train(policies[1], REWARDS, config, folder))
    assert [report.heldout is None for report in bare] == [True, False]
    for one, other in zip(bare, kept, strict=True):
        assert {**vars(one), "seconds": None} == {**vars(other), "seconds": None}
    save_lora(tmp_path / "own.safetensors", policies[0].adapter_state(), config, bare[-1])
    (own, _), (theirs, _) = lora_file.read(tmp_path / "own.safetensors"), lora_file.read(folder.lora_file)
    assert own.keys() == theirs.keys()
    assert all(own[name].equal(theirs[name]) for name in own)


def test_patience_ends_a_run_without_a_folder(tmp_path):
    config = with_heldout(small_config(tmp_path, iterations=40))
    evaluation = config.evaluation.model_copy(update={"every": 1, "patience": 1})
    update = config.update.model_copy(update={"learning_rate": 1e-30, "ema": None})  # so nothing can rise
    config = config.model_copy(update={"evaluation": evaluation, "update": update})
    policy = open_policy(rank=config.lora.rank, alpha=config.lora.alpha)
    assert len(list(train(policy, REWARDS, config))) == 2
