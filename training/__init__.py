"""Builds the bundled models from scratch: `python -m training.build`."""
