"""Training a LoRA: configuration, iterations, the loop over them, and judging what came of it.

For Python programs this is the door to the library; docs/library.md shows one.
"""

from .assemble import build_policy as build_policy
from .assemble import build_rewards as build_rewards
from .config import Config as Config
from .config import make_table as make_table
from .config_file import read_config as read_config
from .trainer import save_lora as save_lora
from .trainer import train as train
