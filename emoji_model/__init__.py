"""Builds the bundled models from scratch: `python -m emoji_model.build`."""
