"""A Python function as a reward, for scripts that use the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import RunError, UsageError, first_line
from . import registry

Judge = Callable[[Tensor, Sequence[str]], Tensor]
"""Pictures float32 [N, H, W, 3] in 0..1 and their N prompts -> N numbers, larger is better."""


class FunctionReward:
    """A function under a name; its range is its own."""

    def __init__(self, name: str, judge: Judge) -> None:
        self.name = name
        self._judge = judge

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """See Reward.score. Raises RunError, which names the function, when it fails."""
        try:
            return self._judge(images, prompts)
        except (UsageError, RunError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {first_line(error)}".rstrip(": .")
            raise RunError(f'reward "{self.name}" failed ({said}); mend the function.') from error


def register(name: str, judge: Judge) -> None:
    """Make `judge` a reward that configurations of this process can name.

    Raises UsageError when another reward has the name already. Packages add theirs by the entry point
    `treegrpo.rewards` instead, so that the command line and ComfyUI know them too.
    """
    if name in registry.names():
        raise UsageError(f'reward: "{name}" exists already; give the function another name.')
    registry.REGISTERED[name] = lambda: FunctionReward(name, judge)
