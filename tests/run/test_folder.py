from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from treegrpo.errors import RunError, UsageError
from treegrpo.run.folder import RunFolder, is_running


def test_state_and_facts_round_trip(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        assert folder.load_state() is None
        folder.save_state({"a": torch.arange(3.0)}, {"iteration": 7})
        tensors, facts = folder.load_state()
    assert torch.equal(tensors["a"], torch.arange(3.0))
    assert facts == {"iteration": 7}


def test_a_state_that_was_read_leaves_its_file_alone(tmp_path):
    """Mapped tensors would read what is written there later, and on Windows nothing could be."""
    with RunFolder(tmp_path / "run") as folder:
        folder.save_state({"a": torch.ones(100_000)}, {})
        tensors, _ = folder.load_state()
        folder.state_file.write_bytes(bytes(folder.state_file.stat().st_size))
    assert torch.equal(tensors["a"], torch.ones(100_000))


def test_a_folder_in_use_or_with_a_run_is_refused(tmp_path):
    with RunFolder(tmp_path) as folder:
        with pytest.raises(UsageError, match="in use"):
            RunFolder(tmp_path)
        folder.save_state({"a": torch.zeros(1)}, {})
    with pytest.raises(UsageError, match="--resume"):
        RunFolder(tmp_path)
    with RunFolder(tmp_path, resume=True):
        pass


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written to"):
        RunFolder(tmp_path / "file" / "run")


def test_metrics_survive_a_line_cut_short_and_forget_unfinished_iterations(tmp_path):
    with RunFolder(tmp_path) as folder:
        for iteration in range(4):
            folder.append_metrics({"iteration": iteration})
        with open(folder.metrics_file, "a") as file:
            file.write('{"iteration": 4, "rew')
        assert [row["iteration"] for row in folder.metrics()] == [0, 1, 2, 3]
        folder.forget_after(2)
        assert [row["iteration"] for row in folder.metrics()] == [0, 1]


def test_damaged_state_is_named(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.state_file.write_bytes(b"\x00" * 100)
        with pytest.raises(RunError, match=r"state\.safetensors.*damaged"):
            folder.load_state()


def test_a_run_is_running_while_it_is_held_and_no_longer(tmp_path):
    assert not is_running(tmp_path / "nowhere")
    with RunFolder(tmp_path / "run"):
        assert is_running(tmp_path / "run")
    assert not is_running(tmp_path / "run")


def test_those_who_look_do_not_take_each_other_for_a_run(tmp_path):
    with RunFolder(tmp_path / "run"):
        pass
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda _: is_running(tmp_path / "run"), range(400)))
