"""Development tools: a real ComfyUI with this repository as a custom node. Never shipped."""
