import gc
import shutil
import weakref
from contextlib import contextmanager

import pytest
import torch
from transformers import CLIPConfig

from treegrpo.bundled import EMOJI_CLIP, EMOJI_SD3
from treegrpo.errors import UsageError
from treegrpo.rewards.aesthetic import Aesthetic
from treegrpo.rewards.clip import ROWS, load_folder
from treegrpo.rewards.clipscore import ClipScore
from treegrpo.rewards.host import Host
from treegrpo.rewards.linear_head import linear_head
from treegrpo.rewards.weights import CLIP_L

pytestmark = pytest.mark.kernels

CPU = torch.device("cpu")
IMAGES = torch.rand(ROWS + 5, 40, 60, 3, generator=torch.Generator().manual_seed(0))
PROMPTS = [("bear", "frog", "bell")[place % 3] for place in range(len(IMAGES))]


@pytest.fixture
def host(tmp_path):
    """A folder of rewards in which the bundled model stands for CLIP ViT-L/14."""
    shutil.copytree(EMOJI_CLIP, tmp_path / CLIP_L.folder)
    torch.manual_seed(0)
    head = linear_head(CLIPConfig.from_pretrained(EMOJI_CLIP).projection_dim)
    state = {f"layers.{name}": weight for name, weight in head.state_dict().items()}
    torch.save(state, tmp_path / "aesthetic-model.pth")
    return Host(CPU, (tmp_path,))


def test_batches_and_order_do_not_matter():
    """To 1e-5: matrix products round differently in other shapes."""
    reward = ClipScore(host=Host(CPU))
    scores = reward.score(IMAGES, PROMPTS)
    assert scores.std() > 1e-3
    alone = torch.cat([reward.score(image[None], [prompt]) for image, prompt in zip(IMAGES, PROMPTS, strict=True)])
    assert torch.allclose(scores, alone, atol=1e-5)
    order = torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(1))
    shuffled = reward.score(IMAGES[order], [PROMPTS[place] for place in order])
    assert torch.allclose(shuffled, scores[order], atol=1e-5)


def test_rewards_on_one_model_share_it_and_leave_with_it(host):
    clipscore, aesthetic = ClipScore(model=CLIP_L.repo, host=host), Aesthetic(host)
    assert clipscore.clip is aesthetic.clip
    assert ClipScore(host=host).clip is not clipscore.clip
    alive = weakref.ref(clipscore.clip.network)
    del clipscore, aesthetic
    gc.collect()
    assert alive() is None


def test_the_host_says_where_the_network_runs(host):
    placed = []

    @contextmanager
    def place(network):
        placed.append(network)
        yield CPU

    reward = ClipScore(model=CLIP_L.repo, host=Host(CPU, host.folders, place))
    reward.score(IMAGES[:2], PROMPTS[:2])
    assert {id(network) for network in placed} == {id(reward.clip.network)}


def test_a_folder_of_something_else_is_a_sentence(host, tmp_path):
    with pytest.raises(UsageError, match="is not a folder of a CLIP model"):
        load_folder(EMOJI_SD3, host)
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="is not a folder of a CLIP model"):
        load_folder(other, host)


def test_a_name_that_is_neither_folder_nor_hub_id_is_a_sentence(host):
    with pytest.raises(UsageError, match=r'"ViT-L" is neither a folder nor a hub id such as openai/'):
        ClipScore(model="ViT-L", host=host)
    with pytest.raises(UsageError, match=r"hf download laion/CLIP-ViT-B-32 --local-dir"):
        ClipScore(model="laion/CLIP-ViT-B-32", host=host)
