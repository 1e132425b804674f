"""Training a LoRA: configuration, iterations, the loop over them, and judging what came of it."""
