import pickle

import pytest
import torch

from treegrpo.errors import UsageError
from treegrpo.pictures.instruction import Instruction, paired, reference_of

RED, BLUE = torch.eye(3)[0].expand(2, 2, 3), torch.eye(3)[2].expand(2, 2, 3)


def test_it_goes_where_a_prompt_goes_and_keeps_its_picture():
    made = Instruction("make it blue", RED)
    assert f"{made}!" == "make it blue!"
    assert isinstance(made, str)
    assert torch.equal(reference_of(made), RED)
    assert reference_of("make it blue") is None


def test_words_and_picture_both_tell_one_from_another():
    made = Instruction("make it blue", RED)
    others = [Instruction("make it green", RED), Instruction("make it blue", BLUE), "make it blue"]
    others.append(Instruction("make it blue", RED.reshape(1, 4, 3)))  # the same bytes in another shape
    for other in others:
        assert made != other
        assert other != made
    assert len({made, Instruction("make it blue", RED.clone()), *others}) == 5


def test_it_goes_to_other_processes():
    made = Instruction("make it blue", RED)
    sent = pickle.loads(pickle.dumps(made))
    assert sent == made
    assert torch.equal(sent.reference, RED)


@pytest.mark.parametrize(("words", "pictures", "count"), [(3, 3, 3), (1, 3, 3), (3, 1, 3), (1, 1, 1)])
def test_as_many_of_both_or_one_for_all(words, pictures, count):
    made = paired([f"words {i}" for i in range(words)], [torch.full((1, 1, 3), i / 4) for i in range(pictures)])
    assert [str(each) for each in made] == [f"words {i % words}" for i in range(count)]
    assert [float(each.reference[0, 0, 0]) for each in made] == [(i % pictures) / 4 for i in range(count)]


def test_other_numbers_are_refused():
    with pytest.raises(UsageError, match="images: there are 2 pictures and 3 instructions"):
        paired(["a", "b", "c"], [RED, BLUE])
