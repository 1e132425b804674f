"""Muon: steps that are equally long in every direction of a weight matrix, so that rare things are learned too."""

import torch
from torch import Tensor, nn


def orthogonal(m: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix of [rows, columns], roughly, by five Newton-Schulz iterations."""
    x = m if m.shape[0] <= m.shape[1] else m.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x if m.shape[0] <= m.shape[1] else x.T


class Muon(torch.optim.Optimizer):
    """For matrices and convolutions; the step's size matches that of Adam at the same rate."""

    def __init__(self, weights: list[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                mean = state.setdefault("mean", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1 - group["momentum"])
                direction = weight.grad.lerp(mean, group["momentum"]).flatten(1)
                size = 0.2 * max(direction.shape) ** 0.5
                weight.sub_(group["lr"] * size * orthogonal(direction).view_as(weight))


def optimisers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, Adam for tables of embeddings and everything else."""
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices = [p for p in model.parameters() if p.ndim > 1 and p not in tables]
    rest = [p for p in model.parameters() if p.ndim <= 1 or p in tables]
    return [Muon(matrices, rate), torch.optim.AdamW(rest, rate, betas=(0.9, 0.99), weight_decay=0.0)]


def set_rate(steppers: list[torch.optim.Optimizer], rate: float) -> None:
    """Use this learning rate from now on."""
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = rate
