"""The example on a tiny Stable Diffusion 1; `make bench` starts it as its reader would."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.backends.pipelines import SIDE, tiny_pipeline
from treegrpo.rewards import registry
from treegrpo.rewards.function_reward import register

METHODS = ("treegrpo", "ddpo")
EXAMPLE = Path(__file__).parents[2] / "scripts" / "ddpo.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a tiny Stable Diffusion 1."""
    folder = tmp_path_factory.mktemp("sd15")
    tiny_pipeline("sd15").save_pretrained(folder)
    return folder


def arguments(model, out, method, iterations):
    given = ["--model", model, "--method", method, "--side", SIDE, "--out", out, "--iterations", iterations]
    return [str(EXAMPLE), *map(str, given)]


@pytest.fixture
def example(monkeypatch):
    """Run the example in this process."""

    def run(*given):
        monkeypatch.setattr(registry, "REGISTERED", {})
        monkeypatch.setattr(sys, "argv", list(given))
        runpy.run_path(str(EXAMPLE), run_name="__main__")

    return run


def lines_of(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def check(lines, iterations):
    assert [line["iteration"] for line in lines] == list(range(iterations))
    assert all(line["leaves"] == 32 and line["ratio_error"] == [0.0] for line in lines)
    assert all(-1 <= line["reward"]["blueness"] <= 1 for line in lines)


def test_the_example_trains_and_goes_on(model, tmp_path, example):
    command = arguments(model, tmp_path / "run", "treegrpo", 1)
    for _ in range(2):  # the second time it finds nothing left to do
        example(*command)
        check(lines_of(tmp_path / "run"), 1)
        assert (tmp_path / "run" / "lora.safetensors").exists()


@pytest.mark.long
def test_it_is_quiet_in_a_process_of_its_own(model, tmp_path):
    command = [sys.executable, *arguments(model, tmp_path / "run", "treegrpo", 1)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), "nobody else speaks"
    check(lines_of(tmp_path / "run"), 1)


def test_its_methods_draw_equally_many_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "REGISTERED", {})
    example = runpy.run_path(str(EXAMPLE))
    register("blueness", example["blueness"])
    plans = [
        example["configuration"](str(tmp_path), method, SIDE, 1).make_plan(0, torch.Generator()) for method in METHODS
    ]
    assert [plan.leaves for plan in plans] == [8, 8]
    assert [len(plan.stochastic_steps) for plan in plans] == [3, 20]


@pytest.mark.long
def test_ddpo_is_another_method_of_the_same_program(model, tmp_path, example):
    example(*arguments(model, tmp_path / "run", "ddpo", 1))
    check(lines_of(tmp_path / "run"), 1)


def test_what_cannot_be_is_said_in_one_sentence(tmp_path, example, capsys):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableVideoDiffusionPipeline"}')
    with pytest.raises(SystemExit) as left:
        example(*arguments(tmp_path, tmp_path / "run", "ddpo", 1))
    assert left.value.code == 2
    out, err = capsys.readouterr()
    [sentence] = err.splitlines()
    assert sentence.startswith("ddpo.py: ")
    assert "is a StableVideoDiffusionPipeline, which is not supported" in sentence
    assert out == ""
