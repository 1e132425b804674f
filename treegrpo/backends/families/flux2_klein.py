"""FLUX.2-klein and its base models (diffusers' Flux2KleinPipeline).

A distilled pipeline says so itself (is_distilled), and guidance changes nothing of it then; base models have
classifier-free guidance.
"""

from __future__ import annotations

from .flux2 import BLOCKS as BLOCKS
from .flux2 import NETWORK as NETWORK
from .flux2 import PATH as PATH
from .flux2 import TARGETS as TARGETS
from .flux2 import decode as decode
from .flux2 import encode as encode
from .flux2 import file_name as file_name
from .flux2 import guide as guide
from .flux2 import latent_shape as latent_shape
from .flux2 import native_size as native_size
from .flux2 import predict as predict
from .flux2 import sigmas as sigmas

NAMES = "FLUX.2-klein, FLUX.2-klein-base"
DISTILLED = False
