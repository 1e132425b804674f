from math import inf, nan

import pytest

from treegrpo.bundled import DEMO_CONFIG
from treegrpo.errors import UsageError
from treegrpo.training.config import PlanTable, WindowTable, make_table, stochastic_steps
from treegrpo.training.config_file import parse_config, read_config

GOOD = {"model": {"path": "m"}, "rewards": [{"name": "clipscore"}], "train": {"prompts": "p.txt"}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modle": {}}, ['"modle" is not a setting', 'did you mean "model"']),
        ({"update": {"learning_rat": 1}}, ['"update.learning_rat"', 'did you mean "learning_rate"']),
        ({"rewards": [{"name": "clipscore", "wieght": 1}]}, ['"rewards.0.wieght"', 'did you mean "weight"']),
        ({"train": {}}, ['"train.prompts" is missing']),
        ({"rewards": []}, ['"rewards"']),
        ({"train": {"prompts": 5}}, ['"train.prompts" = 5 cannot be used']),
        ({"lora": {"targets": 5}}, ['"lora.targets" = 5 cannot be used']),
        ({"plan": {"steps": "ten"}}, ['"plan.steps"', "'ten'"]),
        ({"update": {"learning_rate": -1}}, ['"update.learning_rate"', "greater than 0"]),
        ({"model": {"path": "m", "dtype": "int8"}}, ['"model.dtype"', "float32"]),
    ],
)
def test_mistakes_are_named_with_their_place(change, words):
    with pytest.raises(UsageError) as caught:
        parse_config({**GOOD, **change}, "run.toml")
    for word in ["run.toml", *words]:
        assert word in str(caught.value)


NONSENSE = {
    "model.guidance": [nan, inf, -1],
    "model.height": [0, 10**9],
    "lora.alpha": [inf, nan, 0],
    "plan.steps": [0, 1001, 10**9],
    "plan.branch": [0, 10**9],
    "plan.depth": [10**9],
    "plan.roots": [10**9],
    "plan.leaf_limit": [10**9],
    "window.ratio": [nan, 1],
    "kernel.eta": [inf, nan],
    "advantage.clamp": [inf, nan],
    "update.learning_rate": [inf, nan, 1e30, 0],
    "update.clip_range": [inf, nan],
    "update.kl": [inf, nan, -1],
    "update.max_grad_norm": [inf, nan],
    "update.ema": [nan, 1],
    "train.seed": [2**63, -(2**63)],
    "train.memory_gb": [inf, nan, 1e300],
    "train.iterations": [10**12],
}
"""Settings that would only go wrong later, or never be noticed."""


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in NONSENSE.items() for value in values])
def test_nonsense_is_refused_with_its_place(key, value):
    table, setting = key.split(".")
    with pytest.raises(UsageError, match=f'"{key}" = .* cannot be used') as caught:
        parse_config({**GOOD, table: {**GOOD.get(table, {}), setting: value}}, "run.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [nan, inf])
def test_a_weight_is_a_number_and_one_of_them_counts(value):
    with pytest.raises(UsageError, match=r'"rewards\.0\.weight" = .* cannot be used'):
        parse_config({**GOOD, "rewards": [{"name": "brightness", "weight": value}]}, "run.toml")
    mute = [{"name": "brightness", "weight": 0}, {"name": "contrast", "weight": 0.0}]
    with pytest.raises(UsageError, match="rewards: all weights are 0, so nothing counts"):
        parse_config({**GOOD, "rewards": mute}, "run.toml")
    with pytest.raises(UsageError, match=r"evaluation\.rewards: all weights are 0"):
        parse_config({**GOOD, "evaluation": {"rewards": mute}}, "run.toml")


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path):
    (tmp_path / "p.txt").write_text("bear\n")
    file = tmp_path / "run.toml"
    file.write_text('[model]\npath = "some/hub-id"\n[[rewards]]\nname = "clipscore"\n[train]\nprompts = "p.txt"\n')
    config = read_config(file)
    assert config.train.prompts == str(tmp_path / "p.txt")
    assert config.model.path == "some/hub-id"


def test_files_that_are_not_toml(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(UsageError, match=r"not valid TOML \(.*\)\.$"):
        read_config(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text('[train]\nprompts = "C:\\Users\\me\\prompts.txt"')
    with pytest.raises(UsageError, match=r"; write paths with / or in 'single quotes'\.$"):
        read_config(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_bytes("[model]\npath = 'Müller'".encode("latin-1"))
    with pytest.raises(UsageError, match="is not in UTF-8"):
        read_config(tmp_path / "bad.toml")


def test_editors_may_begin_a_file_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "run.toml"
    text = '[model]\npath = "x"\n[[rewards]]\nname = "clipscore"\n[train]\nprompts = ["bear"]\n'
    file.write_text(text, encoding="utf-8-sig")
    assert read_config(file).model.path == "x"


def test_the_demo_configuration_is_valid():
    assert read_config(DEMO_CONFIG).plan.method == "treegrpo"


@pytest.mark.parametrize(
    ("plan", "window", "steps"),
    [
        ({}, {}, (0, 1, 2, 3, 4, 5)),  # starts have chances of a half, a quarter and so on
        ({}, {"schedule": "uniform"}, tuple(range(9))),
        ({}, {"schedule": "fixed", "start": 4}, (4, 5, 6)),
        ({"steps": 4, "depth": 2}, {}, (0, 1, 2)),
        ({"method": "flow_grpo", "roots": 4}, {}, tuple(range(10))),
    ],
)
def test_the_steps_that_are_often_stochastic(plan, window, steps):
    assert stochastic_steps(make_table(PlanTable, **plan), make_table(WindowTable, **window)) == steps
