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


def test_a_network_is_brought_and_taken_back():
    network, there = Travelling(), torch.device("cuda", 1)
    with moved(network, there) as device:
        assert device == there
        assert network.seen == [there]
    assert network.seen == [there, CPU]


def test_it_is_taken_back_when_scoring_fails():
    network = Travelling()
    with pytest.raises(ZeroDivisionError), moved(network, torch.device("cuda")):
        _ = 1 / 0
    assert network.seen[-1] == CPU


def test_precision_follows_the_device():
    assert Host(CPU).dtype == torch.float32
    assert Host(torch.device("cuda")).dtype == torch.float16
