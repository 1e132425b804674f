"""The parts of `make test`: three beside each other, all even if one fails, and a line for each at the end.

`python tests/parts.py [PART ...]` runs the named ones; "processors" stands for all that play another processor, and
"frontends" for the browser's on other releases of ComfyUI's page. What a part says is in build/test/PART.log; of one
that fails it is printed, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
LOGS = ROOT / "build" / "test"
AT_ONCE = 3
"""Parts beside each other, on two cores or more: each computes on one and often waits, the browser most of its time."""

COUNTS = "COUNTS"
"""Stands for the file where a command is to count its tests, in JUnit's form."""
JUNIT = f"--junitxml={COUNTS}"
ONEDNN, TORCH = "--kernels=onednn", "--kernels=torch"
PYTEST = (".venv/bin/pytest", JUNIT, ONEDNN)
IN_COMFYUI = (".venv-comfyui/bin/python", "-m", "pytest", JUNIT)
COMFYUI = (*IN_COMFYUI, ONEDNN)
VITEST = ("--reporter=default", "--reporter=junit", f"--outputFile.junit={COUNTS}")
BROWSER = ("-rs", "--no-fold-skipped", "tests/browser")
RANKS = ("backends/test_sharding.py", "memory/test_out_of_memory.py", "method/test_ranks.py", "method/test_update.py")
RUNS = ("tests/cli", "tests/scripts", "tests/training", *(f"tests/{file}" for file in RANKS))
"""Tests that start processes, which they share."""
MODELS = ("tests/backends", "tests/memory")
KERNELS = ("-m", "kernels and not long")
LOWEST = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
MARKED = [file for file in (ROOT / "tests").rglob("test_*.py") if "mark.kernels" in file.read_text(encoding="utf-8")]


@dataclass(frozen=True)
class Part:
    """Commands one after another, in the repository's folder, with environment variables of their own."""

    commands: tuple[tuple[str, ...], ...]
    variables: Mapping[str, str] = field(default_factory=dict)


def played(*options: str, **variables: str) -> Part:
    """The tests whose numbers hang on a processor's kernels, with those that torch, oneDNN and MKL are told to use.

    They take the best that the processor has up to what they are told, but for ATen, which believes what it is told.
    The parts that they belong to have them too, with the processor's own kernels. ComfyUI's environment can run all.
    """
    return Part(((*IN_COMFYUI, *KERNELS, *options, *map(str, MARKED)),), variables)


PARTS = {
    "browser": Part(((*COMFYUI, *BROWSER),)),
    "runs": Part(((*PYTEST, *RUNS),)),
    "comfyui": Part(((*COMFYUI, "tests/comfyui"),)),
    "models": Part(((*PYTEST, *MODELS, *(f"--ignore={each}" for each in RUNS)),)),
    "library": Part(((*PYTEST, *(f"--ignore={each}" for each in (*RUNS, *MODELS))),)),
    "front end": Part((("npm", "--prefix", "web", "test", "--", *VITEST),)),
    "style and types": Part(
        ((".venv/bin/ruff", "check"), (".venv/bin/ruff", "format", "--check"), (".venv/bin/mypy",))
    ),
    "lowest": played(TORCH, **LOWEST),
}
PROCESSORS = {
    "lowest": PARTS["lowest"],
    "lowest of oneDNN": played(ONEDNN, **LOWEST),
    "AVX2": played(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", MKL_ENABLE_INSTRUCTIONS="AVX2"),
    "AVX-512": played(ONEDNN_MAX_CPU_ISA="AVX512_CORE", MKL_ENABLE_INSTRUCTIONS="AVX512"),
    "AVX-512 with bfloat16": played(ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16"),
    "all there is": played(),
    "reproducible MKL": played(MKL_CBWR="COMPATIBLE"),
    "two threads": played(OMP_NUM_THREADS="2"),
}
FRONTENDS = {
    f"browser on {version}": Part(((*COMFYUI, *BROWSER, "--front-end", version),))
    for version in ("1.47.12", "1.58.1")  # the oldest and the newest that this pack is meant for
}
GROUPS = {"processors": PROCESSORS, "frontends": FRONTENDS}


@dataclass
class Result:
    """What became of a part; without tests of its own, it is itself one."""

    name: str
    failed: int = 0
    passed: int = 0
    skipped: int = 0
    seconds: float = 0.0


def run(name: str, part: Part) -> Result:
    """Run a part, keep what it says, and count."""
    began, result = time.monotonic(), Result(name)
    print(f"{name} ...", flush=True)
    log = LOGS / f"{name.replace(' ', '-')}.log"
    with open(log, "wb") as file:
        for number, command in enumerate(part.commands):
            counts = log.with_name(f"{log.stem}-{number}.xml")
            counts.unlink(missing_ok=True)
            done = subprocess.run(
                [word.replace(COUNTS, str(counts)) for word in command],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **part.variables},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            count(result, done.returncode, counts)
    result.seconds = time.monotonic() - began
    said = log.read_text(encoding="utf-8", errors="replace") if result.failed else ""
    print(f"{said}\n{line(result)}", flush=True)
    return result


def count(result: Result, code: int, counts: Path) -> None:
    """Add the tests of a command, read from its JUnit file; one that fails without such a file is one failure."""
    if not counts.exists():
        result.failed += code != 0
        result.passed += code == 0
        return
    for suite in ElementTree.parse(counts).iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        result.failed += failed
        result.skipped += skipped
        result.passed += int(suite.get("tests", 0)) - failed - skipped
    if code and not result.failed:
        result.failed = 1


def line(result: Result) -> str:
    """A row of the table at the end."""
    return (
        f"{result.name:<24}{result.passed:>6} passed{result.failed:>6} failed{result.skipped:>6} skipped"
        f"{result.seconds:>8.0f} s"
    )


def main(names: list[str]) -> int:
    """Run the parts that are named, or those of `make test`; 1 if anything failed."""
    known = PROCESSORS | FRONTENDS | PARTS
    if unknown := set(names) - set(known) - set(GROUPS):
        print(f"unknown parts: {', '.join(unknown)}; choose from {', '.join([*known, *GROUPS])}.", file=sys.stderr)
        return 2
    chosen = [name for each in names or PARTS for name in GROUPS.get(each, [each])]
    LOGS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda name: run(name, known[name]), chosen))
    print(*map(line, results), sep="\n")
    passed, failed, skipped = (sum(getattr(r, what) for r in results) for what in ("passed", "failed", "skipped"))
    print(f"\nall parts, {time.monotonic() - began:.0f} s:\n{passed} passed, {failed} failed, {skipped} skipped")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
