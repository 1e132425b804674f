"""What the ComfyUI registry gets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = (
    "__init__.py",
    "nodes/",
    "treegrpo/",
    "web/dist/",
    "locales/",
    "workflows/",
    "requirements.txt",
    "pyproject.toml",
)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only git knows these patterns")
def test_nothing_that_the_pack_needs_is_left_out():
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-from=.comfyignore"]
    left_out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "tests/__init__.py" in left_out
    assert not [file for file in left_out if file.startswith(NEEDED)]
