"""A policy, open for as long as a node needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..treegrpo.backends.comfy.policy import ComfyPolicy, training
from ..treegrpo.errors import RunError
from ..treegrpo.memory.out_of_memory import is_out_of_memory
from .sockets import Drawing, PolicyValue


@contextmanager
def opened(policy: PolicyValue, drawing: Drawing) -> Iterator[ComfyPolicy]:
    """The policy with its adapter in place; afterwards the MODEL is as before and its memory is free.

    Raises RunError when memory runs out and UsageError when the conditioning does not fit the model.
    """
    plan = drawing.plan
    with training():
        live = ComfyPolicy(
            policy.model,
            drawing.vae,
            drawing.prompts,
            policy.adapter,
            guidance=plan.guidance,
            height=plan.height,
            width=plan.width,
            scheduler=plan.scheduler,
            schedule=drawing.schedule,
            recompute=policy.recompute,
        )
        try:
            live.try_out()
            yield live
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"out of memory at {plan.width} x {plan.height}: lower memory_gb of this node (half of it halves the "
                "batches), switch gradient checkpointing on in LoRA Policy, or choose a smaller picture in Tree Plan."
            ) from error
        finally:
            live.close()
