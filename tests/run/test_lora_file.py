import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from treegrpo.errors import UsageError
from treegrpo.run import lora_file

STATE = {
    "transformer.a.lora_A.weight": torch.randn(2, 8),
    "transformer.a.lora_B.weight": torch.randn(8, 2),
    "lora_unet_b.lora_down.weight": torch.randn(2, 8),
    "lora_unet_b.lora_up.weight": torch.randn(8, 2),
}


def test_round_trip_keeps_weights_and_facts(tmp_path):
    file = tmp_path / "lora.safetensors"
    lora_file.write(file, STATE, rank=2, alpha=4.0, facts={"method": "treegrpo"})
    state, facts = lora_file.read(file)
    assert facts == {"rank": 2, "alpha": 4.0, "method": "treegrpo"}
    for name, weight in STATE.items():
        assert torch.equal(state[name], weight)  # the factor is a power of two, so undoing it is exact


def test_a_state_for_another_scale_does_the_same(tmp_path):
    file = tmp_path / "lora.safetensors"
    lora_file.write(file, STATE, rank=2, alpha=4.0)
    state, _ = lora_file.read(file, scale=0.5)
    for name, weight in STATE.items():
        # Scale 2 in the file, 0.5 in the adapter: the up weights are 4 times as large; powers of two are exact.
        assert torch.equal(state[name], 4 * weight if "lora_B" in name or "lora_up" in name else weight)


def test_scale_is_folded_into_the_up_weights(tmp_path):
    file = tmp_path / "lora.safetensors"
    lora_file.write(file, STATE, rank=2, alpha=4.0)
    with safe_open(file, framework="pt") as stored:
        for name, weight in STATE.items():
            scale = 2 if "lora_B" in name or "lora_up" in name else 1
            assert torch.equal(stored.get_tensor(name), scale * weight)


def test_a_state_with_its_own_alphas_is_written_as_it_is(tmp_path):
    file = tmp_path / "lora.safetensors"
    state = {**STATE, "lora_unet_b.alpha": torch.tensor(4.0)}
    lora_file.write(file, state, rank=2, alpha=4.0)
    with safe_open(file, framework="pt") as stored:
        assert {name: stored.get_tensor(name).tolist() for name in stored.keys()} == {
            name: weight.tolist() for name, weight in state.items()
        }


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        lora_file.read(tmp_path / "missing.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("not a lora")
    with pytest.raises(UsageError, match="cannot be read"):
        lora_file.read(text)
    foreign = tmp_path / "foreign.safetensors"
    save_file(STATE, foreign)
    with pytest.raises(UsageError, match="no treegrpo metadata"):
        lora_file.read(foreign)
