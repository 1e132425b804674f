import weakref

import torch

from treegrpo.backends.comfy.saved_bytes import saved_bytes


def test_counts_each_saved_tensor_once_and_no_weights():
    x = torch.randn(10, 100, requires_grad=True)
    weight = torch.nn.Parameter(torch.randn(100, 100))

    def forward():
        y = x @ weight  # keeps x and the weight
        return (y * y).sum()  # keeps y, twice the same storage

    assert saved_bytes(forward) == x.nbytes + 10 * 100 * 4


def test_leaves_nothing_alive():
    """exp saves its own output; an output that held its graph would be a cycle that nothing frees."""
    alive = []

    def forward():
        y = torch.ones(10, requires_grad=True).exp()
        alive.append(weakref.ref(y))
        return y.sum()

    saved_bytes(forward)
    assert alive[0]() is None
