import pytest
import torch
from torch import nn

from treegrpo.rewards.host import Host, moved

CPU = torch.device("cpu")


class Travelling(nn.Linear):
    """Remembers where it was sent; there is no second device to really go to."""

    def __init__(self):
        super().__init__(2, 2)
        self.seen = []

    def to(self, device):
        self.seen.append(torch.device(device))
        return self


@pytest.fixture(autouse=True)
def _full(monkeypatch):
    """An accelerator whose memory is mostly taken."""
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (3 * 2**30, 8 * 2**30))


def test_a_network_is_brought_and_taken_back():
    network, there = Travelling(), torch.device("cuda", 1)
    with moved(network, there) as device:
        assert device == there
        assert network.seen == [there]
    assert network.seen == [there, CPU]


def test_it_stays_where_there_is_plenty_of_room(monkeypatch):
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (50 * 2**30, 80 * 2**30))
    network = Travelling()
    with moved(network, torch.device("cuda")):
        pass
    assert network.seen == [torch.device("cuda")]
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (30 * 2**30, 80 * 2**30))
    with moved(network, torch.device("cuda")):
        pass
    assert network.seen[-1] == CPU, "until there is not"


def test_it_is_taken_back_when_scoring_fails():
    network = Travelling()
    with pytest.raises(ZeroDivisionError), moved(network, torch.device("cuda")):
        _ = 1 / 0
    assert network.seen[-1] == CPU


def test_precision_follows_the_device():
    assert Host(CPU).dtype == torch.float32
    assert Host(torch.device("cuda")).dtype == torch.float16
