import pytest
import torch

from tests.backends.test_families import PROMPTS, SIZES, STEPS, open_tiny
from tests.small_runs import open_policy
from treegrpo.bench.models import bench_config
from treegrpo.bench.timing import Bench, row_of
from treegrpo.training.assemble import build_rewards
from treegrpo.training.config import Config, make_table


def test_steps_without_noise_do_not_count_as_trained():
    """On a VE path methods with every step stochastic go by ddim, which has no noise on the way to sigma 0."""
    policy = open_tiny("sd15")
    config = make_table(
        Config,
        model={"path": "tiny"},
        plan={"steps": STEPS, "method": "flow_grpo", "roots": 2},
        kernel={"name": "ddim"},
        rewards=[{"name": "jpeg_compressibility"}],
        train={"prompts": PROMPTS, "prompts_per_iteration": len(PROMPTS)},
    )
    bench = Bench(policy, build_rewards(config.rewards), PROMPTS, config, SIZES)
    timed = bench.timed("flat", config)
    bench.rounds([timed], 0)
    row = row_of(timed, timed)
    assert row["evaluations"] == 2 * STEPS * len(PROMPTS)
    assert row["trained_nodes"] == 2 * (STEPS - 1) * len(PROMPTS)
    assert row["leaves_per_second"] == pytest.approx(2 * len(PROMPTS) / row["seconds_per_iteration"])


@pytest.fixture
def alike():
    """Two that have been timed for a round each, doing the same."""
    policy = open_policy()
    config = bench_config("emoji", 1, None)
    bench = Bench(policy, build_rewards(config.rewards), ["bear"], config, SIZES)
    before = policy.adapter_state()
    first, second = bench.timed("first", config), bench.timed("second", config)
    bench.rounds([first, second], 0)
    assert all(torch.equal(before[name], weight) for name, weight in policy.adapter_state().items())
    return first, second


def test_the_gradient_of_a_row_tells_whether_it_computed_the_same(alike):
    first, second = alike
    assert row_of(second, first)["gradient"] == 0
    second.first_gradient = -second.first_gradient  # of the same length, but elsewhere: 2 |g| / |g|
    assert row_of(second, first)["gradient"] == pytest.approx(2)
    first.first_gradient = None  # as if it were not finite
    assert row_of(second, first)["gradient"] is None
    assert row_of(first, second)["gradient"] is None
