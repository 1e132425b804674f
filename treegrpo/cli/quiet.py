"""Nothing but the project's own words reaches the terminal."""

from __future__ import annotations

import logging
import os
import warnings

CHATTY = ("torchao", "torch.utils._pytree", "torch.distributed.elastic.multiprocessing.redirects")
"""Loggers that speak while they are imported: of kernels for other devices, of torchao's own enumerations, of macOS."""


def quiet_libraries(progress: bool = False) -> None:
    """Silence notices of the model libraries, and their progress bars; call it before anything imports them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if not progress:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
