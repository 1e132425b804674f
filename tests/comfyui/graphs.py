"""Prompts in API format made of this pack's nodes, on the bundled model."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]
UPDATE = {"learning_rate": 1e-3, "updates_per_rollout": 1, "weighting": "edges", "clip_range": 1e-4, "kl": 0.0}


def node(kind: str, /, **inputs: Any) -> dict[str, Any]:
    """A node; `a__b` stands for the key "a.b" of dynamic inputs."""
    return {"class_type": kind, "inputs": {key.replace("__", "."): value for key, value in inputs.items()}}


def foundation(**policy: Any) -> Graph:
    """Model, prompts, policy, plan and reward, under these names."""
    settings = {"rank": 4, "alpha": 4.0, "targets": "attention", "continue_from": "none", "seed": 0, **policy}
    return {
        "model": node("TreeGRPO_DemoModel"),
        "prompts": node("TreeGRPO_Prompts", clip=["model", 1], text="bear\nfrog\nbell", file="none", negative=""),
        "policy": node(
            "TreeGRPO_LoraPolicy", model=["model", 0], kind="LoRA", gradient_checkpointing=False, **settings
        ),
        "plan": node(
            "TreeGRPO_Plan",
            method="treegrpo",
            method__branch=2,
            method__depth=2,
            method__roots=1,
            method__window="geometric",
            steps=4,
            scheduler="simple",
            kernel="cps",
            eta=0.0,
            cfg=1.0,
            width=64,
            height=64,
        ),
        "reward": node(
            "TreeGRPO_Reward",
            reward="clipscore",
            reward__model="emoji (bundled)",
            reward__template="{prompt}, ink style",
            weight=1.0,
        ),
    }


def drawing(**sampler: Any) -> Graph:
    """Stock nodes that draw a bear with the demo model and show it; settings replace those of the KSampler."""
    settings = {
        "model": ["model", 0],
        "seed": 0,
        "steps": 4,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "positive": ["text", 0],
        "negative": ["text", 0],
        "latent_image": ["empty", 0],
        "denoise": 1.0,
        **sampler,
    }
    return {
        "text": node("CLIPTextEncode", clip=["model", 1], text="bear"),
        "empty": node("EmptySD3LatentImage", width=64, height=64, batch_size=1),
        "draw": node("KSampler", **settings),
        "decode": node("VAEDecode", samples=["draw", 0], vae=["model", 2]),
        "show": node("PreviewImage", images=["decode", 0]),
    }


def one_iteration(iteration: int = 0) -> Graph:
    """The four nodes, a preview and a saved run."""
    return foundation() | {
        "sample": node(
            "TreeGRPO_SampleTree",
            policy=["policy", 0],
            prompts=["prompts", 0],
            plan=["plan", 0],
            vae=["model", 2],
            prompts_per_iteration=2,
            seed=0,
            iteration=iteration,
            memory_gb=0.6,
        ),
        "score": node("TreeGRPO_Score", tree=["sample", 0], rewards__reward0=["reward", 0]),
        "advantage": node("TreeGRPO_Advantage", tree=["score", 0], backup="logprob", centring="none", clamp=5.0),
        "update": node("TreeGRPO_UpdateLora", policy=["policy", 0], tree=["advantage", 0], **UPDATE),
        "preview": node("TreeGRPO_PreviewTree", tree=["advantage", 0], prompt=0),
        "save": node("TreeGRPO_SaveRun", policy=["update", 0], run="steps"),
    }


def training(run: str, iterations: int = 2, **settings: Any) -> Graph:
    """Train alone; settings replace those of the node."""
    inputs = {
        "policy": ["policy", 0],
        "prompts": ["prompts", 0],
        "plan": ["plan", 0],
        "vae": ["model", 2],
        "rewards__reward0": ["reward", 0],
        "run": run,
        "iterations": iterations,
        "prompts_per_iteration": 2,
        **UPDATE,
        "backup": "logprob",
        "centring": "none",
        "save_every": 0,
        "evaluate_every": 0,
        "patience": 0,
        "memory_gb": 0.6,
        "seed": 0,
        **settings,
    }
    return foundation() | {"train": node("TreeGRPO_Train", **inputs)}
