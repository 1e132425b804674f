import gc
import json
import shutil
from dataclasses import astuple
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from tests.backends.pipelines import tiny_pipeline
from tests.small_runs import open_policy
from treegrpo.backends.skeleton import skeleton
from treegrpo.bench.models import HUB_ID
from treegrpo.bundled import EMOJI_SD3
from treegrpo.cli import main
from treegrpo.errors import UsageError
from treegrpo.memory.batch_sizes import batch_sizes
from treegrpo.memory.prediction import _bytes
from treegrpo.method.grow import BatchSizes
from treegrpo.run.folder import RunFolder
from treegrpo.training.assemble import build_policy, build_rewards
from treegrpo.training.config import Config, make_table
from treegrpo.training.config_file import read_config
from treegrpo.training.iteration import Stopwatch, iterate, make_optimizer
from treegrpo.training.run_memory import run_memory
from treegrpo.training.trainer import train

GIB = 2**30
RECIPES = Path(__file__).parents[2] / "recipes"
CARDS = [
    ("sd15-8gb", 8),
    ("sdxl-12gb", 12),
    ("sd35-medium-16gb", 16),
    ("flux-dev-24gb", 24),
    ("z-image-turbo-12gb", 12),
]
PROMPTS = ["bear", "frog", "bell"]


@pytest.fixture(scope="module")
def tiny_sd15(tmp_path_factory):
    """The folder of a tiny U-Net on the VE path, with random weights."""
    folder = tmp_path_factory.mktemp("sd15")
    tiny_pipeline("sd15").save_pretrained(folder)
    return folder


def config_of(plan=None, train=None, update=None, **model):
    """A small run on the bundled model: nine leaves for each of three prompts. Tables change what they name."""
    train = {key: model.pop(key) for key in ("memory_gb", "reuse_graphs") if key in model} | (train or {})
    return make_table(
        Config,
        model={"path": str(EMOJI_SD3), "dtype": "float32", "max_sequence_length": 2, **model},
        plan={"steps": 6, "branch": 3, "depth": 2} | (plan or {}),
        window={"schedule": "fixed", "start": 1},
        rewards=[{"name": "brightness"}],
        update=update or {},
        train={"prompts": PROMPTS, "prompts_per_iteration": 3, **train},
    )


class Marked(Stopwatch):
    """Marks the end of every part of an iteration in a profile."""

    def lap(self, name):
        super().lap(name)
        mark(name)


def mark(name):
    with record_function(f"end of {name}"):
        pass


def allocated(work):
    """[(name, peak, held)] for every mark that work() makes: bytes of torch's own CPU allocator.

    peak: the most at any one time since the mark before. held: at the mark. What was there before work() is not in it.
    """
    gc.collect()  # or else what other tests have left would go in the middle of this one
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    rows = []
    held = peak = 0
    for event in sorted(seen.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
        elif event.name().startswith("end of "):
            rows.append((event.name().removeprefix("end of "), peak, held))
            peak = held
    return rows


def module_bytes(policy):
    """Of all weights and buffers of the pipeline, the adapter's among them."""
    modules = [part for part in policy.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return sum(_bytes(each) for module in modules for each in (*module.parameters(), *module.buffers()))


def measured(policy, config, sizes):
    """(weights and moments, {part: peak beside them}) in bytes of an iteration; pictures are not in decode and update.

    Pictures wait in the host's memory, which a plan for a device does not count; here it is the same memory.
    """
    rewards = build_rewards(config.rewards)
    optimizer = make_optimizer(policy, 1e-3)

    def once(number):
        iterate(policy, optimizer, rewards, config, PROMPTS, number, sizes, Marked())

    once(0)  # makes the moments of the optimiser and the embeddings, which stay
    parts = {name: (peak, held) for name, peak, held in allocated(lambda: once(1))}
    moments = [each for state in optimizer.state.values() for each in state.values() if each.dim()]
    pictures = parts["decode"][1] - parts["grow"][1]
    peaks = {name: peak for name, (peak, _) in parts.items()}
    return module_bytes(policy) + sum(each.nbytes for each in moments), {
        **peaks,
        "decode": peaks["decode"] - pictures,
        "update": peaks["update"] - pictures,
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"memory_gb": 0.02, "guidance": 2.0},
        {"dtype": "bfloat16", "height": 32, "width": 32},  # half precision is slow on many CPUs
        {"weights": "int8", "gradient_checkpointing": True, "reuse_graphs": False},
        {"path": "sd15"},
        *(
            pytest.param(settings, marks=pytest.mark.long)
            for settings in (
                {},
                {"gradient_checkpointing": True, "reuse_graphs": False},
                {"weights": "int8"},
                {"weights": "int8", "dtype": "bfloat16", "reuse_graphs": False},
                {"path": "sd15", "guidance": 2.0, "reuse_graphs": False},
            )
        ),
    ],
    ids=lambda settings: ", ".join(f"{key} {value}" for key, value in settings.items()) or "as it comes",
)
def test_predicted_memory_is_what_torch_allocates(settings, tiny_sd15):
    if settings.get("path") == "sd15":
        settings = {**settings, "path": str(tiny_sd15), "height": 64, "width": 64}
    prompts = 1 if "path" in settings else 3  # U-Nets are slow on a CPU
    config = config_of(train={"prompts_per_iteration": prompts}, **{"memory_gb": 0.1, **settings})
    policy, plan = build_policy(config), run_memory(config)
    sizes = batch_sizes(policy, PROMPTS, config.plan.steps, config.train.memory_gb)
    # Attention on a CPU keeps its logarithms in other paddings than on a GPU; see test_live_bytes.
    assert astuple(plan.sizes) == pytest.approx(astuple(sizes), rel=0.03)
    # oneDNN's kernels for half precision, if the processor has them, take scratch memory from torch's allocator.
    with torch.backends.mkldnn.flags(enabled=policy.dtype is torch.float32):
        stays, work = measured(policy, config, plan.sizes)
    assert plan.network + plan.encoders + plan.vae + plan.adapter * 3 // 4 == stays, "gradients come and go"
    if policy.dtype is torch.bfloat16:
        # Without oneDNN torch's convolutions on a CPU write out the patches of a whole batch in half precision, which
        # those of GPUs do not: 27 MB for 8 pictures, of 10 MB otherwise. The network of the bundled model has hardly
        # any; its VAE is left out, and with it the score, where what was kept for the update is still there.
        work = {name: work[name] for name in ("grow", "update")}
        phases = {name: plan.phases[name] for name in work}
    else:
        phases = plan.phases
    assert max(phases.values()) == pytest.approx(stays + max(work.values()), rel=0.05)
    for name in work.keys() & phases.keys():
        # Weights, which are known exactly, must not hide an error in all else.
        assert phases[name] - stays == pytest.approx(work[name], rel=0.1), name


@pytest.mark.long
def test_a_tree_takes_no_more_than_independent_rollouts_in_the_same_batches():
    """Nine leaves of one prompt; no graphs are kept, and weights, which all have, are not counted."""
    sizes = BatchSizes(rollout=9, training=9, decode=1)  # pictures one by one, so that the peak is not the VAE's

    def work(**plan):
        config = config_of({"steps": 5, **plan}, {"prompts_per_iteration": 1, "reuse_graphs": False})
        return measured(build_policy(config), config, sizes)[1]

    tree = work()
    assert max(tree, key=tree.get) == "update"
    for method in ("mixgrpo", "dance_grpo"):
        flat = work(method=method, roots=9)
        assert tree.keys() == flat.keys()
        for part, peak in tree.items():
            assert peak <= 1.1 * flat[part], (method, part)


@pytest.mark.long
def test_a_tree_takes_more_only_where_it_keeps_more_graphs():
    """Stable Diffusion 1.5 in its true size, predicted in equal batches."""
    model = {"path": HUB_ID["sd15"], "dtype": "bfloat16", "guidance": 5.0, "height": 512, "width": 512}
    train = {"prompts_per_iteration": 1}
    tree = config_of({"depth": 3}, train, **model)
    flat = config_of({"depth": 3, "method": "mixgrpo", "roots": 27}, train, **model)

    def peak(config, pictures, graphs):
        return run_memory(config, BatchSizes(pictures, pictures, decode=8, graphs=graphs)).peak

    nodes = tree.make_plan(0, torch.Generator()).cost().trained_nodes
    assert peak(tree, 9, 0) <= peak(flat, 9, 0)
    assert peak(tree, 1, nodes) <= peak(flat, 1, nodes)
    assert peak(tree, 3, nodes) <= 1.1 * peak(flat, 3, nodes)  # batches of 1, 3 and 9 nodes against 3 and 3 and ...
    assert peak(tree, 9, nodes) == pytest.approx(1.32 * peak(flat, 9, nodes), rel=0.02)  # 13 graphs against 9


@pytest.mark.long
def test_memory_stays_the_same_over_the_iterations_of_a_run(tmp_path):
    """What is held after each, with all that a run writes, and the peak on the way: nine leaves in a fixed window."""
    train_table = {"iterations": 6, "prompts_per_iteration": 1, "trees_every": 1, "memory_gb": 0.1}
    config = config_of({}, train_table, {"ema": 0.9})
    policy, rewards = build_policy(config), build_rewards(config.rewards)

    def run():
        with RunFolder(tmp_path / "run") as folder:
            for _ in train(policy, rewards, config, folder, PROMPTS[:1]):
                mark("iteration")

    _, peaks, held = zip(*allocated(run), strict=True)
    assert len(held) == 6
    assert max(peaks[1:]) <= 1.01 * min(peaks[1:])
    assert len(set(held[1:])) == 1, "a leak of a single number per iteration would be seen"
    # On a CPU the pictures and the copies that are saved, which are elsewhere for a GPU, are in the measurement.
    assert run_memory(config).peak == pytest.approx(module_bytes(policy) + max(peaks), rel=0.15)


def test_graphs_are_planned_where_they_fit_and_are_wanted():
    assert run_memory(config_of(memory_gb=0.1)).graphs > run_memory(config_of(memory_gb=0.01)).graphs > 0
    assert run_memory(config_of(memory_gb=0.1, reuse_graphs=False)).graphs == 0
    assert run_memory(config_of(memory_gb=0.005)).graphs == 0


def test_offloaded_parts_are_not_counted_together():
    together, apart = run_memory(config_of()), run_memory(config_of(offload=True))
    assert together.encoders > 0
    assert together.vae > 0
    assert (apart.encoders, apart.vae) == (0, 0)
    moments = 8 * together.adapter // 16  # of 16 bytes a weight; they stay when the network makes room
    assert apart.phases["encode"] == together.encoders + moments
    assert together.phases["update"] - apart.phases["update"] == together.encoders + together.vae


@pytest.mark.long
@pytest.mark.parametrize(("recipe", "gigabytes"), CARDS)
def test_recipes_fit_their_cards(recipe, gigabytes):
    config = read_config(RECIPES / f"{recipe}.toml")
    plan = run_memory(config)
    # Cards have less than their name says: CUDA's context, and what the allocator cannot use for being in pieces.
    assert plan.peak < (0.9 * gigabytes - 0.6) * GIB
    assert plan.sizes.training >= 2, "one picture at a time would be slow"
    scoring = plan.network + plan.adapter + 2 * GIB  # hpsv2.1 and pickscore in half precision, docs/rewards.md
    assert scoring < (0.9 * gigabytes - 0.6) * GIB


@pytest.mark.parametrize(
    ("key", "model"),
    [
        ("model.path", {"path": "nobody/nothing"}),
        ("model.config", {"path": "artist.safetensors", "config": "nobody/nothing"}),
    ],
)
def test_a_model_whose_configuration_is_not_here_is_refused(key, model):
    with pytest.raises(UsageError, match=f'^{key}: the configuration of "nobody/nothing".*hf download nobody/nothing'):
        run_memory(config_of(**model))


def test_the_command_line_prints_the_memory_of_a_recipe(tmp_path, monkeypatch, capsys):
    file = tmp_path / "run.toml"
    file.write_text(
        f'[model]\npath = "{EMOJI_SD3}"\nmax_sequence_length = 2\n[[rewards]]\nname = "brightness"\n'
        '[train]\nprompts = ["bear"]\n[window]\nschedule = "uniform"\n'
    )
    for arguments in (["--json"], []):
        monkeypatch.setattr("sys.argv", ["treegrpo", "plan", "--recipe", str(file), *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
    as_json, _, table = capsys.readouterr().out.partition("\n")
    memory = json.loads(as_json)["memory"]
    assert memory["peak"] == max(memory["phases"].values())
    assert f"{memory['peak'] / GIB:.2f}" in table
    assert "Not counted: learned rewards" in table
    assert "docs/rewards.md" in table
    assert "Mean over the window's schedule (uniform): 124.0 evaluations." in table


def test_the_skeleton_has_the_weights_of_the_model():
    real, shapes = open_policy().pipeline, skeleton(str(EMOJI_SD3), torch.float32)
    for name, part in real.components.items():
        if isinstance(part, torch.nn.Module):
            expected = {key: weight.shape for key, weight in part.named_parameters() if "lora_" not in key}
            found = {key: weight.shape for key, weight in getattr(shapes, name).named_parameters()}
            assert found == {key.replace(".base_layer", ""): shape for key, shape in expected.items()}, name
            assert all(weight.is_meta for weight in getattr(shapes, name).parameters())


def test_parts_that_nothing_uses_are_left_out(tmp_path):
    """Such as the safety checker of Stable Diffusion 1, whose class diffusers does not export."""
    folder = tmp_path / "pipeline"
    shutil.copytree(EMOJI_SD3, folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["image_encoder"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert skeleton(str(folder), torch.float32).image_encoder is None
