import json
import signal
import subprocess
import sys

import pytest

from tests.small_runs import small_config
from treegrpo.bundled import EMOJI_SD3
from treegrpo.cli import main
from treegrpo.errors import UsageError
from treegrpo.pictures.image_file import read_image

MODEL = ["--model", str(EMOJI_SD3), "--max-sequence-length", "2", "--steps", "4"]


@pytest.fixture
def treegrpo(monkeypatch, capsys):
    """Run the command line in this process; returns (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["treegrpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return call


def write_config(folder, **train):
    """A config file of a run of seconds; extra settings go to its [train] table."""
    config = small_config(folder)
    extra = "".join(f"{key} = {value}\n" for key, value in train.items())
    file = folder / "run.toml"
    file.write_text(
        f'[model]\npath = "{EMOJI_SD3}"\nmax_sequence_length = 2\n[plan]\nsteps = 4\nbranch = 2\ndepth = 2\n'
        f'[[rewards]]\nname = "jpeg_compressibility"\n'
        f'[train]\nprompts = "{config.train.prompts}"\nprompts_per_iteration = 1\ntrees_every = 0\n{extra}'
    )
    return file


def test_plan_prints_the_numbers_of_the_paper_as_json(treegrpo):
    code, out, _ = treegrpo(
        "plan", "--method", "treegrpo", "--steps", 10, "--branch", 3, "--depth", 3, "--start", 0, "--json"
    )
    assert code == 0
    assert json.loads(out) == {
        "method": "treegrpo",
        "start": 0,
        "leaves": 27,
        "evaluations": 202,
        "trained_nodes": 13,
        "trained_edges": 39,
        "peak_frontier": 27,
        "independent_evaluations": 270,
    }


def test_plan_prints_every_window_for_people(treegrpo):
    code, out, _ = treegrpo("plan")
    assert code == 0
    for number in ("202", "176", "150", "124", "98", "72", "46", "177.4"):
        assert number in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--branch", "1", "--start", "0"], "one leaf per prompt"),
        (["--start", "9"], "do not lie within the 10 denoising steps"),
        (["--branch", "5", "--depth", "8"], "390625 leaves per prompt exceed the limit of 4096"),
        (["--method", "grpo"], "choose one of treegrpo"),
        (["--at", "0,x"], "not a list of steps"),
        (["--at", "0,12"], "outside the 10 denoising steps"),
    ],
)
def test_impossible_plans_are_usage_errors_in_one_sentence(treegrpo, arguments, words):
    code, _, err = treegrpo("plan", *arguments)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('name = "jpeg_compressibility"', 'name = "hps"'), "human_votes, imagereward, jpeg_compressibility"),
        (("[plan]", '[kernel]\nname = "euler"\n[plan]'), "flow_sde, dance_sde, cps, ddim"),
        (("[plan]", '[advantage]\nbackup = "max"\n[plan]'), "logprob, mean"),
        (("[plan]", '[window]\nschedule = "random"\n[plan]'), "geometric, shifting"),
        (("[plan]", "[update]\nlearning_rat = 1\n[plan]"), 'did you mean "learning_rate"'),
        ((str(EMOJI_SD3), "/nowhere/at/all"), "model.path"),
        (("depth = 2", "depth = 4"), "window of 4 steps does not fit"),
    ],
)
def test_bad_configs_are_usage_errors_before_any_training(treegrpo, tmp_path, change, words):
    file = write_config(tmp_path)
    file.write_text(file.read_text().replace(*change))
    code, _, err = treegrpo("train", "--config", file, "--out", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1), err
    assert words in err
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_a_bad_lora_or_prompt_file_is_a_usage_error(treegrpo, tmp_path):
    file = write_config(tmp_path)
    (tmp_path / "prompts.txt").write_text("\n")
    code, _, err = treegrpo("train", "--config", file, "--out", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "holds no prompt" in err
    code, _, err = treegrpo("sample", *MODEL, "--prompt", "bear", "--lora", tmp_path / "prompts.txt")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be read as a safetensors file" in err


def test_a_bad_reward_is_a_usage_error(treegrpo, tmp_path):
    commands = (
        ["score", tmp_path / "a.png"],
        ["eval", *MODEL, "--lora", tmp_path / "a.safetensors", "--prompts", tmp_path / "prompts.txt"],
    )
    for command in commands:
        for reward, words in (
            (["--reward", "hps"], "http, human_votes"),
            (["--reward", "clipscore", "--option", "x"], "="),
        ):
            code, _, err = treegrpo(*command, *reward)
            assert (code, err.count("\n")) == (2, 1), err
            assert words in err


def test_train_sample_score_and_eval_work_together(treegrpo, tmp_path):
    config = write_config(tmp_path, iterations=2)
    run = tmp_path / "run"
    code, out, err = treegrpo("train", "--config", config, "--out", run)
    assert code == 0, err
    assert "lora.safetensors" in out
    code, _, err = treegrpo("train", "--config", config, "--out", run)
    assert code == 2
    assert "--resume" in err

    lora = ["--lora", run / "lora.safetensors"]
    code, out, _ = treegrpo("sample", *MODEL, *lora, "--prompt", "bear", "--count", 2, "--out", tmp_path / "samples")
    files = out.splitlines()
    assert code == 0
    assert [read_image(file).shape for file in files] == [(64, 64, 3)] * 2
    assert not (read_image(files[0]) == read_image(files[1])).all(), "pictures of a prompt have noise of their own"

    code, out, _ = treegrpo("score", *files, "--reward", "jpeg_incompressibility")
    assert code == 0
    scores = [line.split("\t") for line in out.splitlines()]
    assert [name for _, name in scores] == files
    assert all(float(score) > 0 for score, _ in scores)

    prompts = ["--prompts", tmp_path / "prompts.txt", "--reward", "jpeg_compressibility", "--count", 2]
    code, out, _ = treegrpo("eval", *MODEL, *lora, *prompts, "--json")
    assert code == 0
    figures = json.loads(out)
    gain = figures["after"]["mean"] - figures["before"]["mean"]
    assert figures["gain"]["mean"] == pytest.approx(gain, abs=1e-6)
    assert figures["gain"]["low"] <= figures["gain"]["mean"] <= figures["gain"]["high"]
    code, out, _ = treegrpo("eval", *MODEL, *lora, *prompts)
    assert code == 0
    assert "diversity" in out
    code, out, _ = treegrpo("eval", "--config", config, *lora, *prompts, "--json")
    assert code == 0
    assert json.loads(out) == figures, "the config says the same as the options"


def test_pictures_are_drawn_as_the_run_was_trained(treegrpo, tmp_path):
    """In its size, unless the command line says otherwise; of one model."""
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace("[plan]", "height = 32\nwidth = 48\n[plan]"))
    draw = ["sample", "--prompt", "bear", "--count", "1", "--out", tmp_path / "samples"]
    code, out, err = treegrpo(*draw, "--config", config)
    assert code == 0, err
    assert read_image(out.strip()).shape == (32, 48, 3)
    code, other, _ = treegrpo(*draw, "--config", config, "--steps", "2")
    assert (read_image(out.strip()) != read_image(other.strip())).any()
    for both in ([], [*MODEL, "--config", config]):
        code, _, err = treegrpo(*draw, *both)
        assert (code, err.count("\n")) == (2, 1)
        assert "give a model, or the --config of a run; not both" in err


def test_square_brackets_in_names_are_shown_as_they_are(treegrpo, tmp_path):
    folder = tmp_path / "[v2] [/bold]"
    code, out, err = treegrpo("train", "--config", write_config(tmp_path, iterations=1), "--out", folder)
    assert code == 0, err
    assert f"LoRA: {folder / 'lora.safetensors'}" in out


def test_a_run_that_hacks_its_reward_stops_and_says_why(treegrpo, tmp_path):
    config = write_config(tmp_path, iterations=12)
    settings = config.read_text().replace("jpeg_compressibility", "jpeg_incompressibility")
    config.write_text(
        f'{settings}[update]\nlearning_rate = 0.01\n[evaluation]\nprompts = "{tmp_path / "prompts.txt"}"\nevery = 1\n'
        'patience = 2\n[[evaluation.rewards]]\nname = "clipscore"\n'
    )
    for more in ([], ["--resume"]):
        code, out, err = treegrpo("train", "--config", config, "--out", tmp_path / "run", *more)
        assert code == 0, err
        assert more or ("   held-out 2." in out and "   watched clipscore 0." in out)
        [sentence] = [line for line in out.splitlines() if line.startswith("Stopped:")]
        assert sentence.startswith("Stopped: the watched reward fell from ")
        assert " in 2 evaluations while the trained one rose from " in sentence
        assert sentence.endswith(f" is {tmp_path / 'run' / 'best.safetensors'}.")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process")
def test_ctrl_c_finishes_the_iteration_saves_and_says_how_to_resume(tmp_path):
    config = write_config(tmp_path, iterations=1000)
    run = tmp_path / "my run"
    command = [sys.executable, "-m", "treegrpo", "train", "--config", str(config), "--out", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.split()[:1] == ["1"]:  # the first iteration is done
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == (  # nobody else speaks; SD3's levels end close to 0
        "plan: steps 2: so little noise is left there that siblings hardly differ; end the window earlier.\n"
    )
    assert "everything is saved" in out
    assert f"treegrpo train --config {config} --out '{run}' --resume" in out
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert 1 <= len(rows) < 1000
    assert f"Stopped after {len(rows)} iterations" in out


def test_debug_shows_the_traceback(treegrpo, monkeypatch):
    arguments = ("plan", "--branch", 1, "--start", 0)
    code, _, sentence = treegrpo(*arguments)
    assert code == 2
    monkeypatch.setattr(sys, "argv", ["treegrpo", *map(str, arguments), "--debug"])
    with pytest.raises(UsageError) as shown:
        main()
    assert sentence == f"treegrpo: {shown.value}\n"


def test_rewards_list_says_what_is_missing(treegrpo, tmp_path):
    (tmp_path / "ImageReward.safetensors").touch()
    code, out, _ = treegrpo("rewards", "list", "--folder", tmp_path)
    assert code == 0
    rows = [line for line in out.splitlines() if "│" in line]
    assert any("pickscore" in row and "not here" in row for row in rows)
    assert any("imagereward" in row and "not here" not in row for row in rows)


def test_what_needs_no_weights_cannot_be_pulled(treegrpo):
    code, _, err = treegrpo("rewards", "pull", "jpeg_compressibility")
    assert code == 2
    assert err.startswith('treegrpo: rewards pull: "jpeg_compressibility" is unknown; choose one of aesthetic, ')


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name one, or give --official"),
        (["--reward", "clipscore", "--official", "hpsv2"], "not both"),
        (["--official", "hpsv3"], "hpsv2, hpsv2.1"),
        (["--official", "hpsv2"], "an environment of its own"),
    ],
)
def test_eval_wants_one_judge(treegrpo, tmp_path, arguments, words):
    (tmp_path / "prompts.txt").write_text("bear\n")
    files = ["--lora", tmp_path / "x.safetensors", "--prompts", tmp_path / "prompts.txt"]
    code, _, err = treegrpo("eval", *MODEL, *files, *arguments)
    assert code == 2
    assert words in err
