"""Where a browser is looked for, and in which order, with programs that only say that they were called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .chromium import VERSION, BrowserError, find


class Machine:
    """A machine with no programs on its PATH but those that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.cache, self._calls = folder / "bin", folder / "cache" / "treegrpo", folder / "calls"
        self.programs.mkdir()

    def add(self, name: str, script: str = "") -> Path:
        """Add a program; one that does nothing starts well."""
        program = self.programs / name
        program.write_text(f'#!/bin/sh\necho {name} "$*" >> "{self._calls}"\n{script}\n')
        program.chmod(0o755)
        return program

    def calls(self) -> str:
        """What was called, a line each."""
        return self._calls.read_text() if self._calls.exists() else ""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.cache.parent))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "playwright"))
    monkeypatch.setenv("PLAYWRIGHT_DOWNLOAD_HOST", "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return machine


def with_apt(machine: Machine, script: str | None = None) -> Path:
    """Let apt-get bring a Chromium; where it will be."""
    brought = machine.programs / "chromium"
    lines = f'case "$*" in *"install chromium") printf "#!/bin/sh\\n" > {brought}; /bin/chmod 755 {brought};; esac'
    machine.add("apt-get", lines if script is None else script)
    return brought


def with_npm(machine: Machine) -> Path:
    """Let npm's package unpack a Chromium; where it will be."""
    machine.add("npm")
    machine.add("node", 'printf "#!/bin/sh\\n" > "$TMPDIR/chromium"; /bin/chmod 755 "$TMPDIR/chromium"')
    return machine.cache / f"chromium-{VERSION}" / "chromium"


def test_one_that_is_there_is_taken(machine: Machine) -> None:
    with_apt(machine)
    machine.add("google-chrome")
    there = machine.add("chromium")
    assert find() == there
    assert "apt-get" not in machine.calls()


def test_one_that_does_not_start_is_passed_over(machine: Machine) -> None:
    machine.add("chromium-browser", "exit 1")
    there = machine.add("google-chrome")
    assert find() == there


def test_debian_is_asked_before_npm(machine: Machine) -> None:
    with_npm(machine)
    brought = with_apt(machine)
    assert find() == brought
    assert "npm" not in machine.calls()


@pytest.mark.parametrize("why", ["not root", "no such package"])
def test_npm_is_asked_where_debian_has_none(machine: Machine, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    unpacked = with_npm(machine)
    if why == "not root":
        with_apt(machine)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
    else:
        with_apt(machine, "exit 100")
    assert find() == unpacked
    assert ("apt-get" in machine.calls()) == (why != "not root")
    assert find() == unpacked
    assert machine.calls().count("npm install") == 1


def test_why_none_can_be_had(machine: Machine) -> None:
    with_apt(machine, "echo E: Unable to locate package chromium; exit 100")
    with pytest.raises(BrowserError) as error:
        find()
    for reason in ("on the PATH", "fails: E: Unable to locate", "npm is missing", "fails: Error: connect"):
        assert reason in str(error.value)
    assert not list(machine.cache.iterdir())
