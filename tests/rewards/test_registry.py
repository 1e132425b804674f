import pytest
import torch

from treegrpo.errors import UsageError
from treegrpo.rewards import registry
from treegrpo.rewards.jpeg import JpegCompressibility
from treegrpo.rewards.reward import score
from treegrpo.training.config import RewardTable, make_table

MODULE = """
class Redness:
    name = "redness"

    def __init__(self, factor: float = 1.0):
        self.factor = factor

    def score(self, images, prompts):
        return self.factor * images[..., 0].mean((1, 2))
"""


@pytest.fixture
def _package(tmp_path, monkeypatch):
    (tmp_path / "redness_reward.py").write_text(MODULE)
    facts = tmp_path / "redness-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: redness\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[treegrpo.rewards]\nredness = redness_reward:Redness\nbroken = redness_reward:Nothing\n"
        "jpeg_compressibility = redness_reward:Redness\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._added.cache_clear()
    yield
    registry._added.cache_clear()


@pytest.mark.usefixtures("_package")
def test_a_package_adds_a_reward():
    assert make_table(RewardTable, name="redness").name == "redness"
    images = torch.rand(3, 4, 4, 3)
    assert torch.equal(registry.create("redness", factor=2.0).score(images, [""] * 3), 2 * images[..., 0].mean((1, 2)))


@pytest.mark.usefixtures("_package")
def test_options_given_as_text_become_numbers():
    assert registry.create("redness", factor="0.5").factor == 0.5
    assert registry.create("http", url="http://localhost", batch="3", timeout_seconds="2.5").batch == 3
    with pytest.raises(UsageError, match=r'redness.factor = "much" is not a number'):
        registry.create("redness", factor="much")
    with pytest.raises(UsageError, match=r'http.batch = "2.5" is not a whole number'):
        registry.create("http", url="http://localhost", batch="2.5")


@pytest.mark.usefixtures("_package")
def test_own_rewards_cannot_be_replaced():
    assert isinstance(registry.create("jpeg_compressibility"), JpegCompressibility)


@pytest.mark.usefixtures("_package")
def test_a_package_that_does_not_load_is_named():
    with pytest.raises(UsageError, match="redness_reward"):
        registry.create("broken")


def test_without_the_package_its_reward_is_unknown():
    with pytest.raises(UsageError, match="unknown"):
        registry.create("redness")


@pytest.mark.parametrize(
    "name", ["brightness", "colourfulness", "contrast", "palette", "saturation", "sharpness", "symmetry"]
)
def test_rewards_without_a_model_are_made_by_name(name):
    options = {"colours": "#e63946, navy"} if name == "palette" else {}
    reward = registry.create(name, **options)
    assert reward.name == name
    assert score(reward, torch.rand(2, 1, 7, 3), ["", ""]).shape == (2,)
