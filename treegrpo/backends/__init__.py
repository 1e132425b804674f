"""Policies on real models. Only here does the library know diffusers, peft, accelerate or ComfyUI."""
