"""Learned rewards under ComfyUI's memory management."""

from __future__ import annotations

import gc
import weakref

import comfy.model_management as management
import pytest
import torch

from treegrpo.backends.comfy.reward_host import reward_host
from treegrpo.rewards.clipscore import ClipScore
from treegrpo.rewards.host import Host

IMAGES = torch.rand(5, 48, 64, 3, generator=torch.Generator().manual_seed(0))
PROMPTS = ["bear", "frog", "bell", "bear", "hat"]


@pytest.fixture(autouse=True)
def _nothing_loaded():
    management.unload_all_models()
    yield
    management.unload_all_models()


def test_comfyui_loads_the_network_and_takes_its_memory_back():
    reward = ClipScore(host=reward_host())
    network = reward.clip.network
    assert management.loaded_models() == []
    with torch.inference_mode():  # as in a node
        scores = reward.score(IMAGES, PROMPTS)
    assert torch.equal(scores, ClipScore(host=Host(torch.device("cpu"))).score(IMAGES, PROMPTS))
    [patcher] = management.loaded_models()
    assert [*patcher.model] == [network]
    size = sum(weight.nbytes for weight in network.parameters())
    assert patcher.loaded_size() == pytest.approx(size, rel=0.01)  # buffers come on top
    reward.score(IMAGES, PROMPTS)
    assert management.loaded_models() == [patcher], "it is loaded once"
    management.free_memory(1e30, management.get_torch_device())
    assert management.loaded_models() == []
    assert patcher.loaded_size() == 0
    assert torch.equal(reward.score(IMAGES, PROMPTS), scores), "it comes back when it is asked again"


def test_two_rewards_on_one_model_load_it_once_and_leave_with_it():
    host = reward_host()
    one, other = ClipScore(host=host), ClipScore(template="{prompt}, ink style", host=host)
    assert one.clip is other.clip
    for reward in (one, other):
        reward.score(IMAGES, PROMPTS)
    assert len(management.loaded_models()) == 1
    alive = weakref.ref(one.clip.network)
    del one, other, reward
    gc.collect()
    assert alive() is None, "a reward that nobody uses keeps no memory"
