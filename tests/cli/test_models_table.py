"""The table of models, in the terminal and in the documentation."""

import sys
from pathlib import Path

import pytest

from treegrpo.backends.families.registry import FAMILIES
from treegrpo.cli import main
from treegrpo.cli.models_table import HEADER, model_rows

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_every_family_says_which_models_it_is_and_is_in_one_row():
    rows = model_rows()
    assert [pipeline for row in rows for pipeline in row[1].split(", ")] == list(FAMILIES)
    assert len({row[0] for row in rows}) == len({id(family) for family in FAMILIES.values()})
    assert all(all(row) for row in rows)


def test_the_command_prints_every_row(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setattr(sys, "argv", ["treegrpo", "models"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    printed = capsys.readouterr().out
    assert all(cell in printed for row in (HEADER, *model_rows()) for cell in row)
    assert "tests/comfyui/zoo.py" in printed


def test_the_documentation_lists_what_the_command_prints():
    section = DOCS.read_text(encoding="utf-8").split("\n### Models\n")[1].split("\n## ")[0]
    header, _, *rows = [line for line in section.splitlines() if line.startswith("|")]
    assert [header, *rows] == [f"| {' | '.join(row)} |" for row in (HEADER, *model_rows())]
