"""Whether noise levels lie so that a stochastic step can teach something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .process import Kernel, Path

ALIKE = 0.03
"""Of the size of a picture's latents, the noise that tells siblings apart at least."""
DROWNED = 0.02
"""Of the noise, what the prediction adds to the next state at least."""
EXCESS = 0.1
"""Of the noise that a level should hold, what a kernel may leave too much; the steps after it take it for picture."""


def doubts(path: Path, kernel: Kernel, sigmas: Sequence[float], steps: Iterable[int]) -> list[str]:
    """A sentence for every kind of doubt about the stochastic `steps`, at noise levels sigmas [T + 1]."""
    alike, drowned, noisy = [], [], []
    for t in steps:
        s, s_next = sigmas[t], sigmas[t + 1]
        if s_next == 0:
            continue
        step = kernel.step(path, s, s_next)
        if step.std < ALIKE * path.signal(s_next):
            alike.append(t)
        if abs(step.b) < DROWNED * step.std:
            drowned.append(t)
        if ((step.a * s) ** 2 + step.std**2) ** 0.5 > (1 + EXCESS) * s_next:
            noisy.append(t)
    sentences = [
        (alike, "so little noise is left there that siblings hardly differ; end the window earlier"),
        (drowned, "nearly all that the model predicts there is drowned in noise; start the window later, or lower eta"),
        (noisy, f"{kernel.name} leaves more noise than the next level holds, which stays in the pictures; use cps"),
    ]
    return [f"steps {', '.join(map(str, where))}: {sentence}." for where, sentence in sentences if where]
