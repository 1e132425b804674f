"""Where the models and prompts that come with the package lie."""

from pathlib import Path

HERE = Path(__file__).parent
EMOJI_SD3 = HERE / "emoji-sd3"
EMOJI_CLIP = HERE / "emoji-clip"
TRAIN_PROMPTS = HERE / "prompts" / "train.txt"
HELDOUT_PROMPTS = HERE / "prompts" / "heldout.txt"
DEMO_CONFIG = HERE / "demo.toml"
