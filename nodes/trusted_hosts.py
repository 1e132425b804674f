"""Which servers a workflow may send pictures to: workflows can come from anybody, this list only from the user."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import folder_paths

from ..treegrpo.backends.comfy.reward_host import FOLDER
from ..treegrpo.errors import UsageError

FILE = "hosts.txt"
HERE = ("localhost", "127.0.0.1", "::1")
TOKENS = "TREEGRPO_"
"""How the environment variables begin whose values may be sent to servers."""


def check_trusted(url: str, token_variable: str) -> None:
    """Raise UsageError for a host that the user has not listed, and for an environment variable that is no token.

    Servers on this machine need no listing.
    """
    try:
        host = (urlsplit(url.strip()).hostname or "").lower()
    except ValueError:
        host = ""
    files = [Path(folder) / FILE for folder in folder_paths.get_folder_paths(FOLDER)]
    listed = {
        line.strip().lower()
        for file in files
        if file.is_file()
        for line in file.read_text(encoding="utf-8").splitlines()
    }
    if host and host not in HERE and host not in listed:
        raise UsageError(
            f'url: "{host}" is not a host that you have allowed; if you trust it with your pictures, write it on a '
            f'line of "{files[0]}".'
        )
    if token_variable and not token_variable.startswith(TOKENS):
        raise UsageError(
            f'token_variable: "{token_variable}" may hold anything; only variables whose names begin with {TOKENS} '
            "are sent to servers, such as TREEGRPO_TOKEN."
        )
