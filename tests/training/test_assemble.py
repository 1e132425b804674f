import pytest
import torch

from tests.small_runs import open_policy, scramble, small_config
from treegrpo.bench.variants import changed
from treegrpo.run import lora_file
from treegrpo.training.assemble import build_policy

pytestmark = pytest.mark.kernels


def test_a_run_that_continues_a_lora_begins_where_it_ended_whatever_its_alpha(tmp_path):
    earlier = open_policy(rank=2, alpha=4.0)
    scramble(earlier)
    lora_file.write(tmp_path / "lora.safetensors", earlier.adapter_state(), rank=2, alpha=4.0)
    x = earlier.initial_noise(1, 1.0, torch.Generator().manual_seed(0))
    for alpha in (4.0, 1.0):
        config = changed(small_config(tmp_path), "lora", alpha=alpha, continue_from=str(tmp_path / "lora.safetensors"))
        policy = build_policy(config)
        with torch.no_grad():
            expected, found = (each.denoise(x, 0.8, ["bear"]) for each in (earlier, policy))
        # Scales are powers of two, so the weights are exact; what the scale is applied to rounds.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        with policy.reference(), torch.no_grad():
            assert (policy.denoise(x, 0.8, ["bear"]) - expected).abs().max() > 1e-3, "the LoRA does something"
