"""Instructions: prompts that say what to change in a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..errors import UsageError
from .image_file import digest


class Instruction(str):
    """The words, which go wherever a prompt goes. Two are equal only if both their words and their pictures are.

    reference: the picture that is changed, float32 [H, W, 3] in 0..1. digest: what tells it from others.
    """

    reference: Tensor
    digest: str

    def __new__(cls, words: str, reference: Tensor) -> Instruction:
        """See Instruction."""
        made = super().__new__(cls, words)
        made.reference = reference
        made.digest = f"{len(reference)} rows, {digest(reference)}"
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instruction) and self._key() == other._key()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Callable[..., Instruction], tuple[str, Tensor]]:
        return Instruction, (str(self), self.reference)

    def _key(self) -> tuple[str, str]:
        return str(self), self.digest


def reference_of(prompt: str) -> Tensor | None:
    """The picture that a prompt changes, float32 [H, W, 3] in 0..1, if there is one."""
    return prompt.reference if isinstance(prompt, Instruction) else None


def paired(words: Sequence[str], pictures: Sequence[Tensor]) -> list[Instruction]:
    """Instructions from as many words as pictures, or from one of either for all of the other.

    pictures: float32 [H, W, 3] in 0..1, each of its own size. Raises UsageError for other numbers.
    """
    if len(words) != len(pictures) and 1 not in (len(words), len(pictures)):
        raise UsageError(
            f"images: there are {len(pictures)} pictures and {len(words)} instructions; give as many of both, or one "
            "for all."
        )
    count = max(len(words), len(pictures))
    return [Instruction(words[i % len(words)], pictures[i % len(pictures)]) for i in range(count)]
