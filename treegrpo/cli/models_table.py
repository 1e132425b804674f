"""The models that the command line opens, and what is done with them."""

from __future__ import annotations

from rich.table import Table

from ..backends.families.family import Family
from ..backends.families.registry import FAMILIES
from ..backends.pipeline_file import CHECKPOINT_KINDS
from ..console import console
from ..method.process import Path

HEADER = ("models", "pipeline", "one file", "path", "trained", "guidance")
PATHS = {Path.FLOW: "flow", Path.VE: "eps, v"}
BESIDE = (
    "Tested of every one, on a small network of its kind: the pictures are the pipeline's own, the first ratio is "
    "exactly 1, and the gradient is the slope. Inside ComfyUI it is the loaded MODEL that is trained, and what counts "
    "is tested for each family in tests/comfyui/zoo.py."
)


def model_rows() -> list[tuple[str, ...]]:
    """A row for each family, as HEADER says: the models, and the diffusers pipelines that they come as."""
    in_one_file = {pipeline for pipelines in CHECKPOINT_KINDS.values() for pipeline in pipelines}
    families: dict[str, tuple[Family, list[str]]] = {}
    for pipeline, family in FAMILIES.items():
        families.setdefault(family.NAMES, (family, []))[1].append(pipeline)
    return [
        (
            names,
            ", ".join(pipelines),
            "yes" if not in_one_file.isdisjoint(pipelines) else "no",
            PATHS[family.PATH],
            family.NETWORK,
            "distilled" if family.DISTILLED else "classifier-free",
        )
        for names, (family, pipelines) in families.items()
    ]


def print_models() -> None:
    """A table of model_rows()."""
    table = Table()
    for name in HEADER:
        table.add_column(name, overflow="fold")
    for row in model_rows():
        table.add_row(*row)
    console.print(table)
    console.print(BESIDE)
