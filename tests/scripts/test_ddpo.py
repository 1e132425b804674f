"""The example as its reader would start it, on a tiny Stable Diffusion 1."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.pipelines import SIDE, tiny_pipeline

EXAMPLE = Path(__file__).parents[2] / "scripts" / "ddpo.py"


@pytest.mark.parametrize("method", ["ddpo", "treegrpo"])
def test_the_example_trains_and_goes_on(tmp_path, method):
    tiny_pipeline("sd15").save_pretrained(tmp_path / "model")

    def run(iterations: int) -> list[dict]:
        arguments = ["--model", tmp_path / "model", "--method", method, "--side", SIDE, "--out", tmp_path / "run"]
        command = [sys.executable, EXAMPLE, *arguments, "--iterations", iterations]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), "nobody else speaks"
        return [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]

    assert [line["iteration"] for line in run(1)] == [0]
    lines = run(2)
    assert [line["iteration"] for line in lines] == [0, 1]
    assert all(line["leaves"] == 32 and line["ratio_error"] == [0.0] for line in lines)
    assert all(-1 <= line["reward"]["blueness"] <= 1 for line in lines)
    assert (tmp_path / "run" / "lora.safetensors").exists()


def test_what_cannot_be_is_said_in_one_sentence(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "StableVideoDiffusionPipeline"}')
    command = [sys.executable, str(EXAMPLE), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    [sentence] = done.stderr.splitlines()
    assert sentence.startswith("ddpo.py: ")
    assert "is a StableVideoDiffusionPipeline, which is not supported" in sentence
    assert done.stdout == ""
