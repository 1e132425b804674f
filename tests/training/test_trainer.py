import json
import shutil
import time
from contextlib import nullcontext
from math import nan

import pytest
import torch

from tests.full_disk import disk_that_takes, full_disk_at
from tests.on_ranks import on_ranks, start
from tests.small_runs import open_policy, small_config
from treegrpo.backends.diffusers import DiffusersPolicy
from treegrpo.bench.variants import changed
from treegrpo.errors import RunError, UsageError
from treegrpo.pictures.instruction import Instruction
from treegrpo.rewards.clipscore import ClipScore
from treegrpo.rewards.jpeg import JpegCompressibility, JpegIncompressibility
from treegrpo.run import lora_file
from treegrpo.run.folder import RunFolder, read_metrics
from treegrpo.run.judged import Judged
from treegrpo.run.state import RunState
from treegrpo.training.iteration import prompts_of
from treegrpo.training.trainer import train

PROMPTS = ["bear", "frog", "bell"]


def policy_for(config):
    size = {"height": config.model.height, "width": config.model.width}
    return open_policy(rank=config.lora.rank, alpha=config.lora.alpha, **size)


def run(config, path, resume=False, rewards=None, stop_after=None, **more):
    """Train in a folder; stop_after: how many iterations to ask for. Returns the reports."""
    reports = []
    rewards = rewards or [(JpegCompressibility(), 1.0)]
    with RunFolder(path, resume) as folder:
        for report in train(policy_for(config), rewards, config, folder, PROMPTS, **more):
            reports.append(report)
            if len(reports) == stop_after:
                break
    return reports


def lasting(path):
    """What a run leaves behind, without its timings."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("seconds")
    return (path / "lora.safetensors").read_bytes(), (path / "state.safetensors").read_bytes(), rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of four iterations that nothing disturbed."""
    path = tmp_path_factory.mktemp("finished")
    config = small_config(path)
    run(config, path / "run")
    return config, path / "run"


def test_leaves_behind_what_the_design_promises(finished):
    _, path = finished
    names = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert names == {
        ".lock",
        "config.json",
        "lora.safetensors",
        "state.safetensors",
        "metrics.jsonl",
        "trees/1.json",
        "trees/1.jpg",
        "trees/3.json",
        "trees/3.jpg",
    }
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert all(row["ratio_error"] == [0.0] and row["grad_norm"][0] > 0 and not row["skipped"] for row in rows)
    assert all(row["leaves"] == 8 and row["spread"]["jpeg_compressibility"] > 0 for row in rows)
    state, facts = lora_file.read(path / "lora.safetensors")
    assert facts["iterations"] == 4
    assert any(weight.abs().max() > 0 for name, weight in state.items() if "lora_B" in name)


@pytest.mark.parametrize("stop_after", [1, 3])
def test_resume_is_bit_exact(finished, tmp_path, stop_after):
    config, path = finished
    run(config, tmp_path / "run", stop_after=stop_after)
    run(config, tmp_path / "run", resume=True)
    assert lasting(tmp_path / "run") == lasting(path)


def test_an_iteration_in_progress_is_forgotten_and_run_again(finished, tmp_path):
    config, path = finished
    run(config, tmp_path / "run", stop_after=2)
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:  # as if killed between metrics and state
        file.write('{"iteration": 2, "reward": {}}\n{"iteration": 3, "re')
    run(config, tmp_path / "run", resume=True)
    assert lasting(tmp_path / "run") == lasting(path)


def test_full_disk_loses_nothing(finished, tmp_path):
    config, path = finished
    run(config, tmp_path / "run", stop_after=2)
    saved = (tmp_path / "run" / "state.safetensors").read_bytes()
    with disk_that_takes(60_000), pytest.raises(RunError, match="free some space"):
        run(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == saved
    run(config, tmp_path / "run", resume=True)
    assert lasting(tmp_path / "run") == lasting(path)


@pytest.fixture(scope="module")
def examined(tmp_path_factory):
    """(config, folder) of a run of three iterations that evaluates and keeps a tree in each."""
    path = tmp_path_factory.mktemp("examined")
    config = small_config(path, iterations=3, trees_every=1)
    evaluation = config.evaluation.model_copy(update={"every": 1, "images_per_prompt": 2})
    config = config.model_copy(update={"evaluation": evaluation})
    run(config, path / "run", heldout_prompts=["bell"])
    return config, path / "run"


def test_a_disk_that_is_full_at_any_file_says_so_and_loses_nothing(examined, tmp_path):
    """Full at one file after another of an iteration, as if little was freed each time."""
    config, path = examined
    full, policy = tmp_path / "run", policy_for(config)
    with RunFolder(full) as folder:

        def reports():
            return train(policy, [(JpegCompressibility(), 1.0)], config, folder, PROMPTS, ["bell"])

        going = reports()
        next(going), next(going)
        saved = folder.state_file.read_bytes()
        # The first is read when a run goes on, so there it must be of the run that goes already.
        for name in ("metrics.jsonl", "samples/2.jpg", "trees/2.json", "trees/2.jpg", "lora", "state"):
            file = full / (name if "." in name else f"{name}.safetensors")
            with full_disk_at(file), pytest.raises(RunError) as caught:
                next(going)
            sentence = str(caught.value)
            assert f'"{file}" could not be written (No space left on device); free some space' in sentence
            assert sentence.endswith("then continue the run.")
            assert folder.state_file.read_bytes() == saved
            going = reports()
    run(config, full, resume=True, heldout_prompts=["bell"])
    assert lasting(full) == lasting(path)
    for name in ("samples/2.jpg", "trees/2.json", "trees/2.jpg", "best.safetensors"):
        assert (full / name).read_bytes() == (path / name).read_bytes(), name


@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl"])
def test_a_disk_that_is_full_when_a_run_goes_on_loses_nothing(examined, tmp_path, file):
    config, path = examined
    run(config, tmp_path / "run", stop_after=2, heldout_prompts=["bell"])
    (tmp_path / "run" / ".metrics.jsonl.partial").symlink_to("/dev/full") if file == "metrics.jsonl" else None
    blocked = full_disk_at(tmp_path / "run" / file) if file == "config.json" else nullcontext()
    with blocked, pytest.raises(RunError, match=rf"{file}. could not be written \(No space left on device\)"):
        run(config, tmp_path / "run", resume=True, heldout_prompts=["bell"])
    run(config, tmp_path / "run", resume=True, heldout_prompts=["bell"])
    assert lasting(tmp_path / "run") == lasting(path)


def run_on_full_disk(ranks, config, path):
    """What is said when the first rank cannot write its state."""
    with RunFolder(path) if ranks.first else nullcontext() as folder:
        reports = train(policy_for(config), [(JpegCompressibility(), 1.0)], config, folder, PROMPTS, ranks=ranks)
        next(reports)
        with full_disk_at(path / "state.safetensors") if ranks.first else nullcontext():
            try:
                next(reports)
            except RunError as error:
                return str(error)


def test_a_full_disk_ends_all_ranks(finished, tmp_path):
    config, _ = finished
    ours, theirs = on_ranks(run_on_full_disk, config, tmp_path / "run")
    assert ours == theirs
    assert "state.safetensors" in ours
    assert "No space left on device" in ours
    assert len(run(config, tmp_path / "run", resume=True)) == config.train.iterations - 1


def test_kill_at_any_point_loses_at_most_the_iteration_in_progress(finished, tmp_path):
    config, path = finished
    folder = tmp_path / "run"
    for delay in (0.05, 0.3, 0.6):
        process = start(run, config, folder, True)
        deadline = time.monotonic() + 60
        metrics = folder / "metrics.jsonl"
        lines = len(metrics.read_text().splitlines()) if metrics.exists() else 0
        while time.monotonic() < deadline and process.is_alive():  # let one more iteration happen, then some
            if len(read_metrics(folder)) > lines:
                break
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.join()
        with RunFolder(folder, resume=True) as left:
            state = left.load_state()
            metrics = left.metrics()
        completed = state[1]["iteration"] if state else 0
        assert len(metrics) - 1 <= completed <= len(metrics)
        if completed:
            lora_file.read(folder / "lora.safetensors")
    run(config, folder, resume=True)
    assert lasting(folder) == lasting(path)


def test_another_config_cannot_continue_a_run(finished, tmp_path):
    config, _ = finished
    run(config, tmp_path / "run", stop_after=1)
    other = changed(config, "update", weighting="steps")
    with pytest.raises(UsageError, match=r"update\.weighting = 'edges' .* 'steps'"):
        run(other, tmp_path / "run", resume=True)
    longer = config.model_copy(update={"train": config.train.model_copy(update={"iterations": 2})})
    assert len(run(longer, tmp_path / "run", resume=True)) == 1


def test_a_run_goes_on_at_another_pace_and_its_metrics_say_so(finished, tmp_path):
    config, path = finished
    run(config, tmp_path / "run", stop_after=2)
    slower = changed(config, "update", learning_rate=1e-5, kl=0.1, clip_range=0.1, max_grad_norm=0.5)
    run(slower, tmp_path / "run", resume=True)
    *_, rows = lasting(tmp_path / "run")
    assert [row["pace"]["learning_rate"] for row in rows] == [1e-3, 1e-3, 1e-5, 1e-5]
    assert rows[3]["pace"] == {"learning_rate": 1e-5, "kl": 0.1, "clip_range": 0.1, "max_grad_norm": 0.5}
    *_, unchanged = lasting(path)
    assert rows[:2] == unchanged[:2]
    assert rows[3]["reward"] != unchanged[3]["reward"]


def test_other_prompts_in_the_same_file_cannot_continue_a_run(finished, tmp_path):
    config, _ = finished
    run(config, tmp_path / "run", stop_after=1)
    changing = [Instruction(prompt, torch.zeros(1, 1, 3)) for prompt in PROMPTS]
    for others in ([*PROMPTS, "owl"], changing):
        with (
            RunFolder(tmp_path / "run", resume=True) as folder,
            pytest.raises(UsageError, match=r"train\.prompts: they are others than .* was started with"),
        ):
            next(train(policy_for(config), [(JpegCompressibility(), 1.0)], config, folder, others))
    assert len(run(config, tmp_path / "run", resume=True)) == 3


def test_a_run_older_than_a_setting_goes_on_with_its_default(finished, tmp_path):
    config, path = finished
    run(config, tmp_path / "run", stop_after=2)
    file = tmp_path / "run" / "config.json"
    earlier = json.loads(file.read_text())
    assert earlier["advantage"].pop("mixing") == "normalise"
    file.write_text(json.dumps(earlier))
    summed = config.model_copy(update={"advantage": config.advantage.model_copy(update={"mixing": "sum"})})
    with pytest.raises(UsageError, match=r"advantage\.mixing = 'normalise' and is to go on with 'sum'"):
        run(summed, tmp_path / "run", resume=True)
    run(config, tmp_path / "run", resume=True)
    assert lasting(tmp_path / "run") == lasting(path)


def test_patience_stops_a_run_whose_heldout_reward_stands_still(tmp_path):
    class Constant:
        name = "constant"

        def score(self, images, prompts):
            return torch.zeros(len(prompts))

    config = small_config(tmp_path, iterations=20)
    evaluation = config.evaluation.model_copy(update={"every": 1, "patience": 2, "images_per_prompt": 2})
    config = config.model_copy(update={"evaluation": evaluation})
    reports = run(config, tmp_path / "run", heldout_prompts=["bell"], rewards=[(Constant(), 1.0)])
    assert [report.heldout for report in reports] == [0.0, 0.0, 0.0]


def hacking_config(folder, every=1, patience=3, **train):
    """A run that is taught to fill its files, fast enough to forget the prompts."""
    config = small_config(folder, iterations=12, **train)
    evaluation = config.evaluation.model_copy(update={"every": every, "patience": patience, "images_per_prompt": 2})
    update = config.update.model_copy(update={"learning_rate": 1e-2, "ema": None})
    return config.model_copy(update={"evaluation": evaluation, "update": update})


def hacked(config, path, **more):
    """A run towards busy pictures, watched by what knows the things that the prompts name."""
    busy, watched = [(JpegIncompressibility(), 1.0)], [(ClipScore(), 2.0)]
    return run(config, path, rewards=busy, heldout_prompts=["bell", "frog"], watched=watched, **more)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """(config, folder, reports) of a run that patience has ended; nobody may change it."""
    path = tmp_path_factory.mktemp("ended")
    config = hacking_config(path)
    return config, path / "run", hacked(config, path / "run")


@pytest.fixture
def goes_on(ended, tmp_path):
    """(config, folder) of the same run, to go on with."""
    shutil.copytree(ended[1], tmp_path / "run")
    return ended[0], tmp_path / "run"


def test_patience_stops_a_run_whose_watched_reward_falls_while_the_trained_one_rises(ended, tmp_path):
    config, path, reports = ended
    assert 4 <= len(reports) < 12
    marks = [(report.heldout, 2.0 * report.watched["clipscore"]) for report in reports]
    best = max(range(len(marks)), key=lambda i: marks[i][1])
    assert len(reports) >= best + 4
    assert all(heldout > marks[best][0] and watched < marks[best][1] for heldout, watched in marks[-3:])
    with RunFolder(path, resume=True) as folder:
        judged = RunState.read(folder).judged
        assert folder.best_file.exists()
    assert judged == Judged(*marks[best], best + 1, *marks[-1], 3)
    # The best LoRA is the one that a run of that many iterations ends with.
    shorter = config.model_copy(update={"train": config.train.model_copy(update={"iterations": best + 1})})
    hacked(shorter, tmp_path / "shorter")
    assert (path / "best.safetensors").read_bytes() == (tmp_path / "shorter" / "lora.safetensors").read_bytes()
    assert lora_file.read(path / "best.safetensors")[1]["iterations"] == best + 1


def test_resume_in_the_middle_of_patience_is_bit_exact(ended, tmp_path):
    config, path, whole = ended
    hacked(config, tmp_path / "run", stop_after=len(whole) - 1)
    with RunFolder(tmp_path / "run", resume=True) as folder:
        assert RunState.read(folder).judged.stale == 2
    hacked(config, tmp_path / "run", resume=True)
    assert lasting(tmp_path / "run") == lasting(path)
    assert hacked(config, tmp_path / "run", resume=True) == [], "it has stopped for good"
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == (path / "best.safetensors").read_bytes()


def test_other_watchers_judge_anew(goes_on):
    config, path = goes_on
    evaluation = config.evaluation.model_copy(update={"images_per_prompt": 3})
    [report] = hacked(config.model_copy(update={"evaluation": evaluation}), path, resume=True, stop_after=1)
    with RunFolder(path, resume=True) as folder:
        judged = RunState.read(folder).judged
    assert (judged.best_iterations, judged.stale) == (report.iteration + 1, 0)


def test_other_heldout_prompts_in_the_same_file_judge_anew(goes_on):
    config, path = goes_on
    busy = [(JpegIncompressibility(), 1.0)]
    [report] = run(config, path, resume=True, rewards=busy, heldout_prompts=["bell"], stop_after=1)
    with RunFolder(path, resume=True) as folder:
        judged = RunState.read(folder).judged
    assert (judged.best_iterations, judged.stale) == (report.iteration + 1, 0)


def test_marks_that_no_longer_compare_stay_forgotten_when_the_next_iteration_fails(goes_on):
    config, path = goes_on
    evaluation = config.evaluation.model_copy(update={"images_per_prompt": 3})
    other = config.model_copy(update={"evaluation": evaluation})

    class Failing:
        name = "jpeg_incompressibility"

        def score(self, images, prompts):
            raise RunError("the server is gone")

    with pytest.raises(RunError, match="the server is gone"):
        run(other, path, resume=True, rewards=[(Failing(), 1.0)], heldout_prompts=["bell", "frog"])
    with RunFolder(path, resume=True) as folder:
        assert RunState.read(folder).judged == Judged()
    assert hacked(other, path, resume=True, stop_after=1), "the run goes on"


def run_otherwise(ranks, config):
    """What is said when the second rank has another held-out prompt, and when it has another seed."""
    said, policy, rewards = [], policy_for(config), [(JpegCompressibility(), 1.0)]
    other = config if ranks.first else changed(config, "train", seed=5)
    for own, heldout in ((config, ["bell"] if ranks.first else ["owl"]), (other, ["bell"])):
        try:
            list(train(policy, rewards, own, None, PROMPTS, heldout, ranks=ranks))
        except UsageError as error:
            said.append(str(error))
    return said


def test_ranks_that_would_do_something_else_are_refused(tmp_path):
    assert (
        on_ranks(run_otherwise, small_config(tmp_path))
        == [
            [
                "evaluation.prompts: rank 1 read other prompts than rank 0; give all the same file.",
                "train.seed: rank 1 has 5 and rank 0 has 0; give all ranks the same config.",
            ]
        ]
        * 2
    )


def test_watched_rewards_change_nothing_but_what_is_known(tmp_path):
    config = hacking_config(tmp_path, every=2, patience=0)
    config = config.model_copy(update={"train": config.train.model_copy(update={"iterations": 2})})
    reports = hacked(config, tmp_path / "watched")
    plain = run(config, tmp_path / "plain", rewards=[(JpegIncompressibility(), 1.0)], heldout_prompts=["bell", "frog"])
    assert [list(report.watched) for report in (*reports, *plain)] == [[], ["clipscore"], [], []]
    assert reports[1].heldout == plain[1].heldout
    for name in ("lora", "best"):
        file = f"{name}.safetensors"
        assert (tmp_path / "watched" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()


def test_a_watched_reward_that_leaves_all_out_is_null_and_no_evaluation(tmp_path):
    class Silent:
        name = "silent"
        may_leave_out = True

        def score(self, images, prompts):
            return torch.full((len(prompts),), torch.nan)

    config = hacking_config(tmp_path, patience=1)
    config = config.model_copy(update={"train": config.train.model_copy(update={"iterations": 2})})
    reports = run(config, tmp_path / "run", heldout_prompts=["bell"], watched=[(Silent(), 1.0)])
    assert [report.watched for report in reports] == [{"silent": None}] * 2
    with RunFolder(tmp_path / "run", resume=True) as folder:
        assert RunState.read(folder).judged == Judged()


def test_what_cannot_be_watched_is_refused(tmp_path):
    config = hacking_config(tmp_path)
    watched = [(ClipScore(), 1.0)]
    with pytest.raises(UsageError, match=r"evaluation\.rewards: clipscore, clipscore repeats a name"):
        run(config, tmp_path / "run", heldout_prompts=["bell"], watched=watched * 2)
    with pytest.raises(UsageError, match=r"set evaluation\.prompts, and evaluation\.every above 0"):
        run(config, tmp_path / "run", watched=watched)
    with pytest.raises(UsageError, match=r"set evaluation\.prompts, and evaluation\.every above 0"):
        run(hacking_config(tmp_path, every=0), tmp_path / "run", heldout_prompts=["bell"], watched=watched)
    evaluation = config.evaluation.model_copy(update={"rewards": config.rewards})
    with pytest.raises(UsageError, match="jpeg_compressibility is trained with the same options, and a reward cannot"):
        run(config.model_copy(update={"evaluation": evaluation}), tmp_path / "run", heldout_prompts=["bell"])


def test_evaluations_that_never_come_are_refused(tmp_path):
    config = small_config(tmp_path)
    with pytest.raises(UsageError, match=r"evaluation\.every: there is nothing to draw; set evaluation\.prompts"):
        run(changed(config, "evaluation", every=1), tmp_path / "run")
    with pytest.raises(UsageError, match=r"evaluation\.patience: .* set evaluation\.every above 0"):
        run(changed(config, "evaluation", patience=1), tmp_path / "run", heldout_prompts=["bell"])


def test_a_run_from_before_rewards_were_watched_goes_on(tmp_path):
    config = hacking_config(tmp_path, patience=2)
    hacked(config, tmp_path / "run", stop_after=1)
    with RunFolder(tmp_path / "run", resume=True) as folder:
        tensors, _ = folder.load_state()
        folder.save_state(tensors, {"iteration": 1, "best_heldout": 1e9, "stale": 1})
        assert RunState.read(folder).judged == Judged(best_heldout=1e9, stale=1)
    [report] = hacked(config, tmp_path / "run", resume=True, stop_after=1)
    with RunFolder(tmp_path / "run", resume=True) as folder:
        judged = RunState.read(folder).judged
    assert (judged.best_heldout, judged.best_iterations, judged.stale) == (report.heldout, 2, 0)


def test_rewards_mix_and_repeats_are_refused(tmp_path):
    config = small_config(tmp_path, iterations=1)
    both = [(JpegCompressibility(), 0.5), (JpegIncompressibility(), 0.5)]
    [report] = run(config, tmp_path / "both", rewards=both)
    # Opposite rewards with equal weights cancel after normalising, leaving rounding only.
    assert report.grad_norm[0] < 1e-6
    pair = "jpeg_compressibility ~ jpeg_incompressibility"
    assert report.correlation == {pair: pytest.approx(-1.0, rel=1e-9)}  # float64
    [row] = [json.loads(line) for line in (tmp_path / "both" / "metrics.jsonl").read_text().splitlines()]
    assert row["correlation"] == report.correlation
    with pytest.raises(UsageError, match="repeats a name"):
        run(config, tmp_path / "twice", rewards=[(JpegCompressibility(), 1.0)] * 2)


def test_a_reward_that_fails_stops_the_run_and_keeps_it(tmp_path):
    class Faulty(JpegCompressibility):
        calls = 0

        def score(self, images, prompts):
            self.calls += 1
            scores = super().score(images, prompts)
            return scores if self.calls < 3 else scores * float("nan")

    config = small_config(tmp_path)
    with pytest.raises(RunError, match="iteration 3: jpeg_compressibility had no opinion on any picture"):
        run(config, tmp_path / "run", rewards=[(Faulty(), 1.0)])
    with RunFolder(tmp_path / "run", resume=True) as folder:
        assert folder.load_state()[1]["iteration"] == 2


def test_a_run_goes_on_without_the_pictures_that_are_not_judged(tmp_path, monkeypatch, caplog):
    """Of every prompt the reward declines a picture, and the decoder breaks another."""

    class Choosy(JpegCompressibility):
        def score(self, images, prompts):
            first = [i == 0 or prompts[i] != prompts[i - 1] for i in range(len(prompts))]
            return super().score(images, prompts).masked_fill(torch.tensor(first), torch.nan)

    decode = DiffusersPolicy.decode

    def breaking(policy, latents):
        images = decode(policy, latents)
        images[-1] = torch.nan
        return images

    monkeypatch.setattr(DiffusersPolicy, "decode", breaking)
    config = small_config(tmp_path)
    reports = run(config, tmp_path / "run", rewards=[(Choosy(), 1.0)])
    assert len(reports) == config.train.iterations
    assert all(0 < report.unjudged < report.leaves for report in reports)
    assert all(report.spread["jpeg_compressibility"] > 0 and report.grad_norm[0] > 0 for report in reports)
    [sentence] = [line for line in caplog.messages if "not made of numbers" in line]
    assert sentence.endswith('the VAE computes in float32; set model.dtype = "bfloat16" or "float32".')


def test_a_run_whose_pictures_are_all_broken_ends_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(DiffusersPolicy, "decode", lambda policy, latents: torch.full((len(latents), 8, 8, 3), nan))
    with pytest.raises(RunError, match=r"iteration 1: no picture is made of numbers, .* the VAE computes in float32"):
        run(small_config(tmp_path), tmp_path / "run")


def test_every_prompt_takes_its_turn():
    names = [f"p{i}" for i in range(5)]
    walk = [name for iteration in range(5) for name in prompts_of(names, 2, 0, iteration)]
    assert sorted(walk[:5]) == sorted(walk[5:]) == names
    assert walk[:5] != walk[5:], "rounds are shuffled anew"
    assert prompts_of(names, 2, 0, 3) == prompts_of(names, 2, 0, 3)
