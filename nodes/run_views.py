"""What is in a run folder, as web/schema.json puts it. Everything is read anew: the folder is the only memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import folder_paths

from ..treegrpo.run.folder import is_running
from ..treegrpo.run.live_tree import LIVE
from .run_folders import find, runs_folder

Json = dict[str, Any]

WORKFLOW = "workflow.json"
BEST = "best.jpg"
MOST_RUNS = 500
MOST_FILES = 500
MOST_POINTS = 2000
MOST_BYTES = 64 * 2**20
TAIL = 2**18


class Missing(Exception):
    """What was asked for is not there; the message is the sentence for the person."""


class Damaged(Exception):
    """What was asked for cannot be read; the message is the sentence for the person."""


def runs() -> Json:
    """All runs, the one that changed last first. See Runs in web/schema.json."""
    folders = [path for path in _inside(runs_folder()) if path.is_dir() and find(path.name)]
    summaries = sorted((_summary(path) for path in folders), key=lambda summary: -summary["changed"])
    return {"runs": summaries[:MOST_RUNS]}


def run(name: str) -> Json:
    """One run. See Run in web/schema.json. Raises Missing."""
    path = _folder(name)
    trees = [int(file.stem) for file in _inside(path / "trees") if file.suffix == ".json" and file.stem.isdecimal()]
    try:
        rows = _rows((path / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        rows = []
    return {
        "summary": _summary(path),
        "curves": _curves(rows),
        "trees": sorted(trees),
        "live": (path / "trees" / f"{LIVE}.json").is_file(),
        "folder": _shown_path(path),
        "files": [{"picture": picture(file), "bytes": size} for file, size in _files(path)],
    }


def tree(name: str, which: str) -> Json:
    """A tree of a run: "live", or the number of an iteration. See Tree in web/schema.json. Raises Missing, Damaged."""
    file = _folder(name) / "trees" / f"{which}.json"
    if not (which == LIVE or which.isdecimal()) or not file.is_file():
        raise Missing(f'The run "{name}" has no tree "{which}"; it may not be written yet, or it was deleted.')
    about = _json(file)
    if not isinstance(about, dict) or "generations" not in about:
        raise Damaged(f'"{file.name}" of the run "{name}" is no tree of this version; train on to get new ones.')
    return about | {"sheet": sheet(file.with_suffix(".jpg"), about["sheet"])}


def workflow(name: str) -> Json:
    """The workflow that a run was started from. Raises Missing, Damaged."""
    file = _folder(name) / WORKFLOW
    if not file.is_file():
        raise Missing(f'The run "{name}" did not keep its workflow, since it was not started in the browser.')
    return _json(file)


def sheet(file: Path, layout: Json | None) -> Json | None:
    """The layout of a sheet with where to find it. See Sheet in web/schema.json."""
    if layout is None:
        return None
    try:
        version = file.stat().st_mtime_ns // 1_000_000
    except OSError:
        version = 0
    return {"picture": picture(file), "version": version, **layout}


def picture(file: Path) -> Json:
    """A file as ComfyUI's /view wants it."""
    for kind, root in (("output", folder_paths.get_output_directory()), ("temp", folder_paths.get_temp_directory())):
        if file.is_relative_to(root):
            return {"filename": file.name, "subfolder": file.parent.relative_to(root).as_posix(), "type": kind}
    raise ValueError(f"{file} is in none of ComfyUI's folders")


def _folder(name: str) -> Path:
    path = find(name)
    if path is None:
        what = "preview" if name.startswith("~") else "run"
        raise Missing(f'The {what} "{name}" is not there any more; queue the workflow to make it again.')
    return path


def _summary(path: Path) -> Json:
    """See RunSummary in web/schema.json. A folder that cannot be read says so in `problem`."""
    problem = None
    try:
        config = _json(path / "config.json") if (path / "config.json").is_file() else {}
        first, last = _ends(path / "metrics.jsonl")
    except (Damaged, OSError) as error:
        config, first, last, problem = {}, {}, {}, str(error)
    return {
        "run": path.name,
        "model": _at(config, "model", "path"),
        "method": _at(config, "plan", "method"),
        "done": last["iteration"] + 1 if last else 0,
        "iterations": _at(config, "train", "iterations") or 0,
        "before": first.get("reward", {}),
        "after": last.get("reward", {}),
        "running": is_running(path),
        "resumable": (path / WORKFLOW).is_file(),
        "changed": _changed(path),
        "thumbnail": picture(path / BEST) if (path / BEST).is_file() else None,
        "problem": problem,
    }


def _at(config: Json, table: str, key: str) -> Any:
    inner = config.get(table)
    return inner.get(key, "") if isinstance(inner, dict) else ""


def _ends(metrics: Path) -> tuple[Json, Json]:
    """The first and the last whole line of metrics.jsonl; empty when there is none."""
    try:
        with open(metrics, "rb") as file:
            head = file.readline()
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            tail = file.read()
    except OSError:
        return {}, {}
    first = _rows([head.decode("utf-8", "replace")])
    last = _rows(tail.decode("utf-8", "replace").splitlines()[-2:])
    return (first or [{}])[0], (last or first or [{}])[-1]


def _rows(lines: Iterable[str]) -> list[Json]:
    """The lines that are whole rows of metrics; a crash may have cut the last one short."""
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "iteration" in row and "reward" in row:
            rows.append(row)
    return rows


def _curves(rows: list[Json]) -> Json:
    """See Curves in web/schema.json. Iterations that judged held-out prompts are kept when others are thinned out."""
    every = -(-len(rows) // MOST_POINTS)
    last = len(rows) - 1
    rows = [row for i, row in enumerate(rows) if i % every == 0 or i == last or row.get("heldout") is not None]
    names = dict.fromkeys(name for row in rows for name in row["reward"])
    watched = dict.fromkeys(name for row in rows for name in row.get("watched", {}))

    def column(get: Callable[[Json], Any]) -> list[float | None]:
        return [get(row) for row in rows]

    return {
        "iteration": column(lambda row: row["iteration"]),
        "reward": {name: column(lambda row, name=name: row["reward"].get(name)) for name in names},
        "spread": {name: column(lambda row, name=name: row.get("spread", {}).get(name)) for name in names},
        "heldout": column(lambda row: row.get("heldout")),
        "watched": {name: column(lambda row, name=name: row.get("watched", {}).get(name)) for name in watched},
    }


def _files(path: Path) -> list[tuple[Path, int]]:
    """The files of a run that a person may want, without those that only the program reads, and their bytes."""
    found = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    return [(file, about.st_size) for file, about in _stats(found[:MOST_FILES])]


def _inside(path: Path) -> list[Path]:
    """What a folder holds; nothing, when it is not there (any more)."""
    try:
        return list(path.iterdir())
    except OSError:
        return []


def _changed(path: Path) -> float:
    """When something in a folder changed last, in seconds."""
    return max((about.st_mtime for _, about in _stats([*_inside(path), path])), default=0.0)


def _stats(files: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """What the disk says of files, without those that are gone: they come and go while a run writes."""
    for file in files:
        with suppress(OSError):
            yield file, file.stat()


def _shown_path(path: Path) -> str:
    base = Path(folder_paths.base_path)
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def _json(file: Path) -> Any:
    """The content of a JSON file. Raises Damaged."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise Damaged(f'"{file.name}" is larger than {MOST_BYTES // 2**20} MiB, too large to be shown.')
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(
            f'"{file.name}" of the run "{file.parent.name}" is damaged; train on to get a new one.'
        ) from error
