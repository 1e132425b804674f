"""treegrpo rewards list | pull."""

from __future__ import annotations

from typing import Annotated

import typer

from .arguments import RewardsFolder

rewards = typer.Typer(no_args_is_help=True, help="The rewards, and the weights of those that are learned.")


@rewards.command(name="list")
def list_rewards(folder: RewardsFolder = None) -> None:
    """List the rewards, what they need, and whether it is here."""
    from .rewards_table import print_rewards

    print_rewards(folder)


@rewards.command()
def pull(name: Annotated[str, typer.Argument(help="A reward.")], folder: RewardsFolder = None) -> None:
    """Download the weights of a reward; a broken download goes on where it stopped. Hashes are checked."""
    from .rewards_table import pull_reward

    pull_reward(name, folder)
