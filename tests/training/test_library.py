"""The library as a Python program uses it: docs/library.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import open_policy, small_config
from treegrpo.rewards.jpeg import JpegCompressibility
from treegrpo.run import lora_file
from treegrpo.run.folder import RunFolder
from treegrpo.training import save_lora, train

ROOT = Path(__file__).parents[2]
REWARDS = [(JpegCompressibility(), 1.0)]


def test_the_documented_program_learns_and_leaves_nothing_behind(tmp_path):
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    rewards = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(rewards) == 6
    assert max(rewards[-3:]) > rewards[0] + 0.1
    assert list(tmp_path.iterdir()) == []


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
