"""When a run has learned enough: the held-out reward stands still, or it rises while a watched one falls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Judged:
    """What the held-out evaluations of a run come to.

    The best evaluation has the highest watched reward or, where nothing is watched, the highest held-out reward.
    best_heldout, best_watched, best_iterations: its rewards, and after how many iterations it was. heldout, watched:
    those of the last evaluation. stale: for how many evaluations in a row patience has been tried.
    """

    best_heldout: float | None = None
    best_watched: float | None = None
    best_iterations: int | None = None
    heldout: float | None = None
    watched: float | None = None
    stale: int = 0

    def after(self, iterations: int, heldout: float, watched: float | None) -> Judged:
        """With one more evaluation: mean held-out reward, and the weighted sum of the watched ones, if there are any.

        Patience is tried by an evaluation that is not the best and, where something is watched, rewards more what is
        trained than the best one did: the sign of reward hacking.
        """
        mark, best = (heldout, self.best_heldout) if watched is None else (watched, self.best_watched)
        if best is None or self.best_heldout is None or mark > best:
            return Judged(heldout, watched, iterations, heldout, watched)
        tried = watched is None or (watched < best and heldout > self.best_heldout)
        stale = self.stale + 1 if tried else 0
        return Judged(self.best_heldout, self.best_watched, self.best_iterations, heldout, watched, stale)

    def out_of(self, patience: int) -> bool:
        """Whether a run of this patience (0: endless) stops now."""
        return 0 < patience <= self.stale

    def reason(self, best: object) -> str:
        """Why a run that is out of patience stops, and that its best LoRA is `best`, in one sentence."""
        times = f"{self.stale} evaluation{'s' if self.stale > 1 else ''}"
        if self.watched is None:
            why = f"the held-out reward has not risen above {self.best_heldout:.4f} in {times}"
        else:
            why = (
                f"the watched reward fell from {self.best_watched:.4f} to {self.watched:.4f} in {times} "
                f"while the trained one rose from {self.best_heldout:.4f} to {self.heldout:.4f}"
            )
        if self.best_iterations is None:  # a run from before best LoRAs were kept
            return f"Stopped: {why}."
        return f"Stopped: {why}; the LoRA of the best evaluation, at iteration {self.best_iterations}, is {best}."
