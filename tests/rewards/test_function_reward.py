import pytest
import torch

from treegrpo.errors import RunError, UsageError
from treegrpo.rewards import registry
from treegrpo.rewards.function_reward import register
from treegrpo.rewards.reward import score


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setattr(registry, "REGISTERED", {})


def test_a_function_scores_under_its_name():
    register("redness", lambda images, prompts: images[..., 0].mean((1, 2)))
    reward = registry.create("redness")
    images = torch.zeros(2, 4, 4, 3)
    images[1, ..., 0] = 1
    assert reward.name == "redness"
    assert score(reward, images, ["a", "b"]).tolist() == [0.0, 1.0]


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(UsageError, match='"brightness" exists already'):
        register("brightness", lambda images, prompts: images.mean((1, 2, 3)))


def test_a_function_that_fails_is_named():
    def judge(images, prompts):
        raise KeyError("bear")

    register("faulty", judge)
    with pytest.raises(RunError, match=r"""reward "faulty" failed \(KeyError: 'bear'\); mend the function"""):
        score(registry.create("faulty"), torch.zeros(1, 4, 4, 3), ["bear"])


def test_a_function_that_returns_too_few_numbers_is_named():
    register("lazy", lambda images, prompts: images.mean().view(1))
    with pytest.raises(RunError, match='reward "lazy" returned shape'):
        score(registry.create("lazy"), torch.zeros(3, 4, 4, 3), ["a", "b", "c"])
