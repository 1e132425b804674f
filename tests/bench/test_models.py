import pytest
import torch

from treegrpo.bench.models import SETTINGS, bench_config
from treegrpo.errors import UsageError


def test_settings_that_the_model_does_not_have_are_refused():
    with pytest.raises(UsageError, match=r'"model\.memory_gb" is not a setting'):
        bench_config("sd15", 1, None, {"memory_gb": "3"})


@pytest.mark.parametrize("model", SETTINGS)
def test_models_in_true_size_have_27_leaves(model):
    config = bench_config(model, 2, 4.0, {"gradient_checkpointing": "true"})
    assert config.model.gradient_checkpointing is True
    assert (config.train.memory_gb, config.train.prompts_per_iteration) == (4.0, 2)
    assert config.make_plan(0, torch.Generator().manual_seed(0)).leaves == 27
