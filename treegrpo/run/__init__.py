"""What a run leaves behind: its folder, state, LoRA files and trees, and what may be watched while it goes on."""
