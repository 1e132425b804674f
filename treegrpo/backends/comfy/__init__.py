"""The policy on ComfyUI's native MODEL, CLIP, VAE and CONDITIONING."""
