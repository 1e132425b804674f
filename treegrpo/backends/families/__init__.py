"""The model families of the diffusers backend, one module each."""
