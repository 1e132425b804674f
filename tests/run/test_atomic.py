import os
from contextlib import nullcontext

import pytest

from tests.full_disk import disk_that_takes
from treegrpo.errors import RunError
from treegrpo.run import atomic
from treegrpo.run.atomic import FileHeld, write_bytes, write_text


def test_writes_and_replaces(tmp_path):
    file = tmp_path / "new" / "file.txt"
    write_text(file, "one")
    write_text(file, "zwei ü")
    assert file.read_text(encoding="utf-8") == "zwei ü"
    assert list(file.parent.iterdir()) == [file]


def test_full_disk_keeps_the_old_file_and_says_what_to_do(tmp_path):
    file = tmp_path / "state"
    write_bytes(file, b"old")
    with disk_that_takes(1000), pytest.raises(RunError, match=r"state.*free some space.*continue the run"):
        write_bytes(file, b"x" * 5000)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("refusals", [3, 100])
def test_a_file_that_is_being_read_is_waited_for(tmp_path, monkeypatch, refusals):
    """As Windows has it."""
    replace, asked = os.replace, []

    def refused(partial, path):
        asked.append(path)
        if len(asked) <= refusals:
            raise PermissionError(13, "being used by another process")
        replace(partial, path)

    monkeypatch.setattr(os, "replace", refused)
    monkeypatch.setattr(atomic, "PAUSES", (0.001,) * 4)
    with nullcontext() if refusals == 3 else pytest.raises(FileHeld, match="being used by another process"):
        write_bytes(tmp_path / "file", b"new")
    assert [file.name for file in tmp_path.iterdir()] == (["file"] if refusals == 3 else [])
