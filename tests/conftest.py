"""What all tests have. The libraries that load models are imported by the tests that use them: others start sooner."""

from __future__ import annotations

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from treegrpo.backends.diffusers import DiffusersPolicy


KERNELS = {"onednn": True, "torch": False}
"""Of oneDNN and torch's own, by the names that tests have with them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kernels", choices=KERNELS, help="all that tests whose numbers hang on kernels compute by")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests whose numbers hang on kernels compute by those of oneDNN, and by torch's own."""
    if metafunc.definition.get_closest_marker("kernels"):
        wanted = metafunc.config.getoption("kernels")
        names = [wanted] if wanted else list(KERNELS)
        metafunc.fixturenames.append("onednn")
        metafunc.parametrize("onednn", [KERNELS[name] for name in names], ids=names, indirect=True)


@pytest.fixture
def onednn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether oneDNN may be used."""
    with torch.backends.mkldnn.flags(enabled=request.param):
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files outlive a killed process without it, and that a machine loses its power is no test's business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def policy_base() -> DiffusersPolicy:
    """The bundled model as it comes; nobody may change its adapter."""
    from tests.small_runs import open_policy

    return open_policy()


@pytest.fixture(scope="module")
def policy() -> DiffusersPolicy:
    """The bundled model with a scrambled adapter; tests of a module share it and must not change it."""
    from tests.small_runs import open_policy, scramble

    opened = open_policy()
    scramble(opened)
    return opened
