import weakref

import pytest
import torch

from treegrpo.backends.comfy.saved_bytes import saved_bytes
from treegrpo.errors import UsageError
from treegrpo.memory import batch_sizes, drawing_sizes


def test_counts_each_saved_tensor_once_and_no_weights():
    x = torch.randn(10, 100, requires_grad=True)
    weight = torch.nn.Parameter(torch.randn(100, 100))

    def forward():
        y = x @ weight  # keeps x and the weight
        return (y * y).sum()  # keeps y, twice the same storage

    assert saved_bytes(forward) == x.nbytes + 10 * 100 * 4


def test_rows_grow_with_the_budget(policy):
    small, large = (batch_sizes(policy, ["bear"], 10, budget) for budget in (0.1, 1.0))
    assert 1 <= small.training < large.training
    # Ten times the room for ten times the rows; integer division may lose up to ten of them.
    assert large.training == pytest.approx(10 * small.training, abs=10)


def test_a_budget_below_one_picture_is_refused(policy):
    with pytest.raises(UsageError, match=r"memory_gb.*gradient_checkpointing"):
        batch_sizes(policy, ["bear"], 10, 1e-6)


def test_leaves_nothing_alive():
    """exp saves its own output; an output that held its graph would be a cycle that nothing frees."""
    alive = []

    def forward():
        y = torch.ones(10, requires_grad=True).exp()
        alive.append(weakref.ref(y))
        return y.sum()

    saved_bytes(forward)
    assert alive[0]() is None


def test_drawing_needs_no_room_for_gradients_and_always_has_a_picture(policy):
    budget = 0.065
    drawing, training = drawing_sizes(policy, ["bear"], 10, budget), batch_sizes(policy, ["bear"], 10, budget)
    assert drawing.rollout > 2 * training.rollout
    assert drawing.decode == training.decode
    tight = drawing_sizes(policy, ["bear"], 10, 1e-6)
    assert (tight.rollout, tight.decode) == (1, 1)
