"""DDPO on Stable Diffusion 1.5 with a reward that is a Python function, as TRL's DDPOTrainer had it.

python scripts/ddpo.py --model stable-diffusion-v1-5/stable-diffusion-v1-5 --out runs/ddpo
torchrun --standalone --nproc-per-node 4 scripts/ddpo.py --model stable-diffusion-v1-5/stable-diffusion-v1-5
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from treegrpo.cli.quiet import quiet_libraries

quiet_libraries()  # before they are imported

from torch import Tensor

from treegrpo.cli.headless import train_from_config
from treegrpo.errors import RunError, UsageError
from treegrpo.rewards.function_reward import register
from treegrpo.training.config import Config, make_table

PROMPTS = ["a cat", "a horse", "a rabbit", "a spider", "a zebra", "a deer", "a fish", "a bear"]


def blueness(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """How much more blue than red a picture has, -1..1: the place for a reward of your own."""
    red, _, blue = images.mean((1, 2)).unbind(-1)
    return blue - red


def configuration(model: str, method: str, side: int | None, iterations: int) -> Config:
    """DDPO (independent rollouts) or TreeGRPO with as many leaves per prompt; all else is the same."""
    plan = {"ddpo": {"steps": 20, "roots": 8}, "treegrpo": {"steps": 20, "branch": 2, "depth": 3}}[method]
    return make_table(
        Config,
        model={"path": model, "guidance": 5.0, "height": side, "width": side, "gradient_checkpointing": True},
        lora={"rank": 4, "alpha": 4},
        plan={"method": method, **plan},
        kernel={"name": "ddim", "eta": 1.0},
        rewards=[{"name": "blueness"}],
        update={"learning_rate": 3e-4},
        train={"prompts": PROMPTS, "prompts_per_iteration": 4, "iterations": iterations},
    )


def main() -> None:
    """Train, alone or as one of several processes; a run that is in the folder goes on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a diffusers folder, hub id or checkpoint file")
    parser.add_argument("--method", choices=["ddpo", "treegrpo"], default="treegrpo")
    parser.add_argument("--side", type=int, help="of the pictures, in pixels; the model's own if left out")
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("runs/ddpo"))
    given = parser.parse_args()
    register("blueness", blueness)
    config = configuration(given.model, given.method, given.side, given.iterations)
    train_from_config(config, given.out, resume=True, again="the same command")


if __name__ == "__main__":
    try:
        main()
    except (UsageError, RunError) as error:  # all others show where they come from, such as a bug in your reward
        print(f"ddpo.py: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
