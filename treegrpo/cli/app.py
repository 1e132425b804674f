"""treegrpo demo | train | sample | score | eval | plan | models | rewards | bench."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from ..errors import RunError, UsageError
from . import commands
from .bench_commands import bench
from .quiet import quiet_libraries
from .rewards_commands import rewards

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
for command in (commands.demo, commands.train, commands.sample, commands.score, commands.plan, commands.models):
    app.command()(command)
app.command(name="eval")(commands.evaluate)
app.add_typer(rewards, name="rewards")
app.add_typer(bench, name="bench")


@app.callback()
def _common(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Tune a LoRA towards a reward with tree-structured rollouts (arXiv 2512.08153)."""


def main() -> None:
    """Run the command line: exit code 2 for a usage error, 1 for a failure, one sentence for either."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # prompts and paths may have letters that a console of Windows has not
            stream.reconfigure(errors="replace")
    quiet_libraries(progress=arguments[:2] == ["rewards", "pull"])
    sys.argv[1:] = [argument for argument in arguments if argument != "--debug"]
    try:
        app()  # given no arguments, it expands *.png where the shell does not
    except UsageError as error:
        _leave(error, 2, debug)
    except RunError as error:
        _leave(error, 1, debug)
    except Exception as error:
        sentence = f"{type(error).__name__}: {error} (add --debug to see where)"
        _leave(RuntimeError(sentence) if not debug else error, 1, debug)


def _leave(error: Exception, code: int, debug: bool) -> None:
    if debug:
        raise error
    print(f"treegrpo: {error}", file=sys.stderr)
    sys.exit(code)
