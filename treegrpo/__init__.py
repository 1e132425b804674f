"""TreeGRPO: online preference alignment of image models by tree-structured rollouts (arXiv 2512.08153)."""

__version__ = "0.1.0"
