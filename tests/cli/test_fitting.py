import pytest
import torch

from tests.small_runs import small_config
from treegrpo.bench.variants import changed
from treegrpo.cli.headless import train_from_config
from treegrpo.errors import RunError

GROWING, OPENING = "training.iteration.grow", "cli.headless.build_policy"
DRAWING = {"gradient_checkpointing": True, "offload": True, "tiled_decode": True}


@pytest.mark.parametrize(
    ("work", "settings", "sentence"),
    [
        (GROWING, {}, r"set model\.gradient_checkpointing = true or .* and continue the run"),
        (GROWING, {"gradient_checkpointing": True}, r"set model\.offload = true or model\.tiled_decode"),
        (GROWING, DRAWING, r'lower height and width, or with model\.weights = "int8"'),
        (GROWING, {**DRAWING, "weights": "int8"}, r"start another run with lower height and width\.$"),
        (OPENING, {}, r'does not fit; set model\.offload = true or model\.weights = "int8"'),
        (OPENING, {**DRAWING, "weights": "int8"}, r"does not fit; choose a smaller one"),
    ],
)
def test_the_command_line_says_what_to_lower(tmp_path, monkeypatch, work, settings, sentence):
    def full(*_, **__):
        raise torch.OutOfMemoryError("the device is full")

    monkeypatch.setattr(f"treegrpo.{work}", full)
    with pytest.raises(RunError, match=sentence):
        train_from_config(changed(small_config(tmp_path), "model", **settings), tmp_path / "run", False, "")
