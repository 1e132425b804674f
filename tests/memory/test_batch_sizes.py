import pytest

from treegrpo.errors import UsageError
from treegrpo.memory.batch_sizes import batch_sizes, drawing_sizes


def test_rows_grow_with_the_budget(policy):
    small, large = (batch_sizes(policy, ["bear"], 10, budget) for budget in (0.1, 1.0))
    assert 1 <= small.training < large.training
    # Ten times the room for ten times the rows; integer division may lose up to ten of them.
    assert large.training == pytest.approx(10 * small.training, abs=10)


def test_a_budget_below_one_picture_is_refused(policy):
    with pytest.raises(UsageError, match=r"memory_gb.*gradient_checkpointing"):
        batch_sizes(policy, ["bear"], 10, 1e-6)


def test_drawing_needs_no_room_for_gradients_and_always_has_a_picture(policy):
    budget = 0.065
    drawing, training = drawing_sizes(policy, ["bear"], 10, budget), batch_sizes(policy, ["bear"], 10, budget)
    assert drawing.rollout > 2 * training.rollout
    assert drawing.decode == training.decode
    tight = drawing_sizes(policy, ["bear"], 10, 1e-6)
    assert (tight.rollout, tight.decode) == (1, 1)
