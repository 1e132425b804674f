from tests.backends.test_families import PROMPTS, SIZES
from tests.small_runs import open_policy
from treegrpo.backends.diffusers import Economy
from treegrpo.bench.models import bench_config
from treegrpo.bench.switches import switches
from treegrpo.bench.timing import Bench
from treegrpo.bench.variants import changed


def test_switches_that_a_run_has_already_are_left_out():
    config = bench_config("emoji", 1, None, {"gradient_checkpointing": True})
    config = changed(config, "train", reuse_graphs=False)
    policy = open_policy(guidance=2.0, economy=Economy(gradient_checkpointing=True, fused_guidance=False))
    names = [timed.name for timed in switches(Bench(policy, [], PROMPTS, config, SIZES))]
    assert names == [
        "as it comes",
        "prompts encoded anew in every iteration",
        "scoring while decoding",
        "trained without guidance",
    ]
