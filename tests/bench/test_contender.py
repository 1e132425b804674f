import torch

from tests.small_runs import SIZES, small_config
from treegrpo.bench.contender import Contender, advance
from treegrpo.bench.variants import changed
from treegrpo.rewards.jpeg import JpegCompressibility
from treegrpo.training.iteration import make_optimizer


def after_an_iteration(policy, config):
    start = policy.adapter_state()
    contender = Contender("", config, make_optimizer(policy, config.update.learning_rate), start)
    advance(contender, policy, [(JpegCompressibility(), 1.0)], ["bear", "frog"], SIZES)
    policy.load_adapter_state(start)
    assert any(not torch.equal(start[name], weight) for name, weight in contender.adapter.items())
    return contender


def test_counts_the_work_of_rollout_and_update(policy, tmp_path):
    flat = changed(small_config(tmp_path), "plan", method="flow_grpo", roots=2)
    contender = after_an_iteration(policy, flat)
    # Two prompts with 2 rollouts of 4 steps; `cps` adds no noise on the last one, so 3 are trained.
    assert (contender.iterations, contender.evaluations, contender.trained_nodes) == (1, 16, 12)
    assert contender.work == 16 + 3 * 12
    assert set(contender.seconds) == {"grow", "decode", "score", "update"}
    assert contender.total == sum(contender.seconds.values())


def test_counts_every_pass_and_the_reference_of_the_kl(policy, tmp_path):
    flat = changed(small_config(tmp_path), "plan", method="flow_grpo", roots=2)
    contender = after_an_iteration(policy, changed(flat, "update", updates_per_rollout=2, kl=0.1))
    assert (contender.evaluations, contender.trained_nodes) == (16 + 24, 24)
