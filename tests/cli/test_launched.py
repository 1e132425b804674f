"""Runs that torchrun and accelerate launch have started on two processes: docs/scale.md, done for real.

Each takes half a minute, so `make test` has one: ranks that hold the network together, started by accelerate with the
recipe, lose one of them, and one process goes on. `make bench` has all.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest
from accelerate.commands.config.config_args import load_config_from_file

from tests.on_ranks import on_ranks
from tests.small_runs import small_config
from treegrpo.bundled import EMOJI_SD3
from treegrpo.cli import main
from treegrpo.run.folder import RunFolder
from treegrpo.training import build_policy, build_rewards, train
from treegrpo.training.config_file import read_config

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "accelerate"
SECONDS = 240
"""To finish in; on two idle cores a run takes 15."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups of Unix")


def write_config(folder, iterations, seed=0, more=""):
    """A config file of a run of seconds, two prompts an iteration; `more` is added to it."""
    small_config(folder)
    file = folder / "run.toml"
    file.write_text(
        f'[model]\npath = "{EMOJI_SD3}"\nmax_sequence_length = 2\n[lora]\nrank = 2\n'
        '[plan]\nsteps = 4\nbranch = 2\ndepth = 2\n[[rewards]]\nname = "jpeg_compressibility"\n'
        f'[train]\nprompts = "{folder / "prompts.txt"}"\nprompts_per_iteration = 2\ntrees_every = 0\n'
        f"iterations = {iterations}\nseed = {seed}\n{more}"
    )
    return file


def torchrun(*options):
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *options]


def accelerate(recipe, *options, port=0):
    return [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(RECIPES / recipe), "--main_process_port", str(port), *options),
    ]


def launch(launcher, config, out, *more, **variables):
    """Start a launcher on a training command, quietly."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(
        [*launcher, "-m", "treegrpo", "train", "--config", str(config), "--out", str(out), *more],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process):
    """(exit code, standard output, the sentences of treegrpo on standard error) of a launcher, once it is done.

    All that it said is printed, for pytest to show where a test fails.
    """
    try:
        out, err = process.communicate(timeout=SECONDS)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            child.kill()
        process.kill()
    print(out, err)
    sentences = [line for line in err.splitlines() if line.startswith("treegrpo: ")]
    return process.returncode, out, sentences


def iterations_in(folder):
    file = folder / "metrics.jsonl"
    return [json.loads(line)["iteration"] for line in file.read_text().splitlines()] if file.exists() else []


def after_iterations(process, folder, count):
    """Wait until a run has done so many."""
    end = time.monotonic() + SECONDS
    while len(iterations_in(folder)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def rank(process, number):
    """The process of one rank below a launcher."""
    children = psutil.Process(process.pid).children(recursive=True)
    [child] = [child for child in children if child.environ().get("RANK") == str(number)]
    return child


def resumed(config, out, monkeypatch):
    """Go on with a run in this process alone."""
    monkeypatch.setattr(sys, "argv", ["treegrpo", "train", "--config", str(config), "--out", str(out), "--resume"])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code or 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(config file, run folder) of a run of eight iterations, started with the recipe of accelerate."""
    folder = tmp_path_factory.mktemp("accelerate")
    config = write_config(folder, 8)
    code, out, sentences = ended(launch(accelerate("one-machine.yaml"), config, folder / "run"))
    assert (code, sentences) == (0, [])
    assert out.count("reward") == 1, "only the first rank prints"
    return config, folder / "run"


@pytest.mark.long
def test_accelerate_launch_runs_the_recipe(finished):
    _, run = finished
    assert iterations_in(run) == list(range(8))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(row["leaves"] == 8 and row["ratio_error"] == [0.0] for row in rows)


def test_recipes_of_one_machine_differ_in_what_the_processes_hold_alone():
    """So that what is launched with one of them goes for the other, as accelerate reads them."""
    each, together = (vars(load_config_from_file(str(RECIPES / f"{name}.yaml"))) for name in ("one-machine", "fsdp"))
    assert {key for key in each if each[key] != together[key]} == {"distributed_type", "fsdp_config"}
    assert (each["distributed_type"], each["num_processes"]) == ("MULTI_GPU", 2)


@pytest.mark.long
def test_two_machines_run_the_recipe_with_one_process_each(finished, tmp_path):
    """Both are this machine, so all but the network between them is real."""
    config, undisturbed = finished
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = []
    for number in (0, 1):
        options = ("--num_processes", "2", "--machine_rank", str(number), "--main_process_ip", "127.0.0.1")
        launcher = accelerate("two-machines.yaml", *options, port=port)
        machines.append(launch(launcher, config, tmp_path / f"machine-{number}"))
    for number, machine in enumerate(machines):
        code, out, sentences = ended(machine)
        assert (code, sentences) == (0, [])
        assert out.count("reward") == (1 if number == 0 else 0), "only the first rank prints"
    file = "lora.safetensors"
    assert (tmp_path / "machine-0" / file).read_bytes() == (undisturbed / file).read_bytes()
    assert not (tmp_path / "machine-1").exists()


@pytest.mark.parametrize(
    "launcher",
    [accelerate("fsdp.yaml"), pytest.param(torchrun(), marks=pytest.mark.long)],
    ids=["hold the network together", "hold it each"],
)
def test_a_killed_rank_ends_the_job_and_one_process_can_go_on(tmp_path, monkeypatch, caplog, launcher):
    process = launch(launcher, write_config(tmp_path, 1000), tmp_path / "run")
    after_iterations(process, tmp_path / "run", 2)
    rank(process, 1).kill()
    began = time.monotonic()
    code, _, sentences = ended(process)
    assert time.monotonic() - began < 60
    assert code != 0
    [sentence] = sentences
    assert "rank 0 ends, since another rank is gone" in sentence
    assert "--resume" in sentence
    done = len(iterations_in(tmp_path / "run"))
    assert 2 <= done < 1000
    assert resumed(write_config(tmp_path, done + 2), tmp_path / "run", monkeypatch) == 0
    assert "so far it had 2 processes and now it has 1; it goes on" in caplog.text
    assert iterations_in(tmp_path / "run") == list(range(done + 2))


@pytest.mark.long
def test_torchrun_restarts_a_killed_job_which_goes_on_bit_for_bit(finished, tmp_path):
    config, undisturbed = finished
    process = launch(torchrun("--max-restarts=1"), config, tmp_path / "run", "--resume")
    after_iterations(process, tmp_path / "run", 2)
    rank(process, 0).kill()
    code, out, _ = ended(process)
    assert code == 0
    headers = [line for line in out.splitlines() if line.split()[:1] == ["iteration"]]
    assert len(headers) == 2, "it has started twice"
    first = out.split(headers[0])[2].split()[0]
    assert int(first) > 1, "the second time it went on"
    assert iterations_in(tmp_path / "run") == list(range(8))
    for name in ("lora", "state"):
        file = f"{name}.safetensors"
        assert (tmp_path / "run" / file).read_bytes() == (undisturbed / file).read_bytes()


@pytest.mark.long
def test_ctrl_c_ends_all_ranks_after_the_same_iteration(tmp_path):
    process = launch(torchrun(), write_config(tmp_path, 1000), tmp_path / "run")
    after_iterations(process, tmp_path / "run", 1)
    process.send_signal(signal.SIGINT)
    _, out, sentences = ended(process)
    assert sentences == []
    assert f"Stopped after {len(iterations_in(tmp_path / 'run'))} iterations; everything is saved." in out


@pytest.mark.long
def test_a_rank_with_another_config_is_named(tmp_path):
    file = write_config(tmp_path, 2)
    other = tmp_path / "1"
    other.mkdir()
    text = write_config(other, 2, seed=5).read_text()
    (other / "run.toml").write_text(text.replace(str(other), str(tmp_path)))
    os.symlink(tmp_path, tmp_path / "0")
    # bash gives every rank the file of its number
    launcher = [*torchrun("--no-python"), "bash", "-c", f'exec {sys.executable} "${{@/RANK/$RANK}}"', "bash"]
    code, _, sentences = ended(launch(launcher, file.parent / "RANK" / "run.toml", tmp_path / "run"))
    assert code != 0
    assert sentences == ["treegrpo: train.seed: rank 1 has 5 and rank 0 has 0; give all ranks the same config."]


def held_each(ranks, file, out):
    """The run of a config file on ranks that hold the network each."""
    config = read_config(file)
    with RunFolder(out) if ranks.first else nullcontext() as folder:
        for _ in train(build_policy(config), build_rewards(config.rewards), config, folder, ranks=ranks):
            pass


@pytest.mark.long
def test_the_recipe_of_a_network_that_all_hold_together_gives_the_same_lora(tmp_path):
    on_ranks(held_each, write_config(tmp_path, 4), tmp_path / "each")
    evaluation = f'[evaluation]\nprompts = "{tmp_path / "prompts.txt"}"\nevery = 2\nimages_per_prompt = 2\n'
    config = write_config(tmp_path, 4, more=evaluation)
    code, out, sentences = ended(launch(accelerate("fsdp.yaml"), config, tmp_path / "together"))
    assert (code, sentences) == (0, [])
    assert out.count("reward") == 1, "only the first rank prints"
    each, together = tmp_path / "each", tmp_path / "together"
    assert iterations_in(together) == iterations_in(each) == list(range(4))
    assert (together / "lora.safetensors").read_bytes() == (each / "lora.safetensors").read_bytes()
    assert {"1.jpg", "3.jpg"} == {sheet.name for sheet in (together / "samples").iterdir()}
