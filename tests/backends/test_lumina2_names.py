"""The factors of Lumina 2's q, k and v in those of one layer."""

from types import SimpleNamespace

import pytest
import torch

from treegrpo.backends.families.lumina2_names import universal

ROWS = {"q": 12, "k": 6, "v": 6}
CONFIG = SimpleNamespace(hidden_size=12, num_attention_heads=4, num_kv_heads=2)


@pytest.mark.parametrize("present", ["qkv", "q", "qv", "kv"])
def test_the_factors_of_all_that_is_trained_are_in_one_pair(present):
    generator = torch.Generator().manual_seed(0)
    state, change = {}, {}
    for part, rows in ROWS.items():
        down, up = torch.randn(2, 12, generator=generator), torch.randn(rows, 2, generator=generator)
        change[part] = up @ down if part in present else torch.zeros(rows, 12)
        if part in present:
            name = f"transformer.layers.3.attn.to_{part}"
            state |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    found = universal(CONFIG, state)
    down, up = (found.pop(f"lora_unet_layers_3_attention_qkv.lora_{end}.weight") for end in ("down", "up"))
    assert not found
    assert len(down) == up.shape[1] == 2 * len(present)
    torch.testing.assert_close(up @ down, torch.cat(list(change.values())))
