import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from aiohttp import web

from tests.rewards.answering import answering
from treegrpo.errors import UsageError
from treegrpo.rewards import weights
from treegrpo.rewards.host import Host
from treegrpo.rewards.hps import HpsV2
from treegrpo.rewards.imagereward import ImageReward
from treegrpo.rewards.registry import OWN
from treegrpo.rewards.weights import CLIP_WORDS, HPSV2, HPSV21, NEEDED, find, folder_of, read_checkpoint

CPU = torch.device("cpu")
STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(1.5)}


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def in_cache(root: Path, repo: str, name: str, content: bytes = b"x") -> Path:
    """A file where huggingface_hub keeps it."""
    home = root / "hub" / f"models--{repo.replace('/', '--')}"
    commit = "0" * 40
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    file = home / "snapshots" / commit / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_every_learned_reward_is_known():
    assert NEEDED.keys() <= OWN.keys()
    assert all(source.gigabytes < 5 and source.files for sources in NEEDED.values() for source in sources)


def test_folders_are_searched_before_the_cache(tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    assert find(HPSV2, folders) is None
    cached = in_cache(tmp_path, HPSV2.repo, HPSV2.files[0])
    assert find(HPSV2, folders) == cached.parent
    loose = folders[1] / HPSV2.files[0]
    loose.parent.mkdir()
    loose.touch()
    assert find(HPSV2, folders) == folders[1]
    own = folders[0] / "HPSv2" / "HPS_v2_compressed.safetensors"  # the .pt has been converted and deleted
    own.parent.mkdir(parents=True)
    own.touch()
    assert find(HPSV2, folders) == own.parent
    assert find(HPSV21, folders) is None


def test_files_that_belong_together_must_all_be_there(tmp_path):
    home = tmp_path / CLIP_WORDS.folder
    home.mkdir()
    (home / "vocab.json").touch()
    (tmp_path / "merges.txt").touch()  # of whichever model
    assert find(CLIP_WORDS, [tmp_path]) is None
    in_cache(tmp_path, CLIP_WORDS.repo, "vocab.json")
    assert find(CLIP_WORDS, [tmp_path]) is None
    (home / "merges.txt").touch()
    assert find(CLIP_WORDS, [tmp_path]) == home


def test_missing_weights_name_file_folder_size_and_command(tmp_path):
    with pytest.raises(UsageError) as error:
        folder_of("hpsv2.1", HPSV21, Host(CPU, (tmp_path / "rewards",)))
    sentence = str(error.value)
    for part in ("HPS_v2.1_compressed.pt", str(tmp_path / "rewards" / "HPSv2"), "2 GB"):
        assert part in sentence
    assert sentence.endswith(f'treegrpo rewards pull hpsv2.1 --folder "{tmp_path / "rewards"}"')
    with pytest.raises(UsageError, match=r"Hugging Face cache.*treegrpo rewards pull hpsv2$"):
        HpsV2(Host(CPU))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_is_read_once_and_kept_as_safetensors(tmp_path, wrapped):
    file = tmp_path / "model.pt"
    torch.save({"state_dict": STATE, "epoch": 3} if wrapped else STATE, file)
    first = read_checkpoint(file)
    file.unlink()
    again = read_checkpoint(file)
    for tensors in (first, again):
        assert tensors.keys() == STATE.keys()
        assert all(torch.equal(tensors[name], STATE[name]) for name in STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_newer_checkpoint_replaces_what_was_kept(tmp_path):
    file = tmp_path / "model.pt"
    torch.save(STATE, file)
    read_checkpoint(file)
    torch.save({"b": torch.tensor(2.0)}, file)
    later = (tmp_path / "model.safetensors").stat().st_mtime + 10
    os.utime(file, (later, later))
    assert read_checkpoint(file) == {"b": torch.tensor(2.0)}


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": STATE, "trap": Trap()}, tmp_path / "zip.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Trap()))
    for name in ("zip.pt", "old.pt"):
        with pytest.raises(UsageError, match=r"could run code, so it was not opened"):
            read_checkpoint(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.pt", "zip.pt"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not all of it", b"<html>Not found</html>"])
def test_a_broken_checkpoint_is_a_sentence(tmp_path, content):
    file = tmp_path / "model.pt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r'model\.pt"'):
        read_checkpoint(file)
    file.with_suffix(".safetensors").write_bytes(b"short")
    with pytest.raises(UsageError, match="delete it"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("reward", "file", "words"),
    [
        (HpsV2, "HPSv2/HPS_v2_compressed.pt", ("vocab.json", "merges.txt")),
        (ImageReward, "ImageReward/ImageReward.pt", ()),
    ],
)
def test_another_architecture_is_a_sentence(tmp_path, reward, file, words):
    for name in words:
        (tmp_path / CLIP_WORDS.folder).mkdir(exist_ok=True)
        (tmp_path / CLIP_WORDS.folder / name).touch()
    (tmp_path / "bert-base-uncased").mkdir()
    (tmp_path / "bert-base-uncased" / "vocab.txt").touch()
    (tmp_path / file).parent.mkdir()
    torch.save({"visual.conv1.weight": torch.zeros(768, 3, 16, 16)}, tmp_path / file)
    with pytest.raises(UsageError, match=r"is not a checkpoint of (CLIP ViT-H/14|ImageReward): "):
        reward(Host(CPU, (tmp_path,)))
    torch.save({"logit_scale": torch.zeros(2)}, tmp_path / file)


class Hub:
    """What the Hugging Face hub answers for files; the first download of each breaks off in the middle."""

    def __init__(self, files: dict[str, bytes], wrong_hash: bool = False) -> None:
        self.files, self.wrong_hash, self.ranges, self.seen = files, wrong_hash, [], set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        content = self.files.get(request.path)
        if content is None:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        digest = hashlib.sha256(content + b"?" * self.wrong_hash).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": "1" * 40, "Accept-Ranges": "bytes"}
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(content))})
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.ranges.append((request.path.rpartition("/")[2], start))
        part = content[start:]
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response.content_length = len(part)
        await response.prepare(request)
        if request.path not in self.seen:
            self.seen.add(request.path)
            await response.write(part[: len(part) // 2])
            request.transport.close()
            return response
        await response.write(part)
        return response


def pull(hub: str, home: Path, *arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "treegrpo", "rewards", "pull", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def hub_files() -> dict[str, bytes]:
    """Distinct contents for all that hpsv2 needs; 31 MB for the checkpoint, as the library writes 10 MB at a time."""
    large = bytes(range(256)) * 120_000
    return {
        f"/{source.repo}/resolve/main/{name}": large if name.endswith(".pt") else name.encode() * 100
        for source in NEEDED["hpsv2"]
        for name in source.files
    }


@pytest.mark.parametrize("into_folder", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_broken_download_goes_on_where_it_stopped(tmp_path, into_folder):
    hub = Hub(hub_files())
    options = ["--folder", tmp_path / "rewards"] if into_folder else []
    with answering(hub.answer) as address:
        ran = pull(address, tmp_path / "home", "hpsv2", *options)
        assert ran.returncode == 0, ran.stderr
        assert "0.031 GB" in ran.stdout
        assert any(start > 0 for name, start in hub.ranges if name.endswith(".pt")), hub.ranges
        if into_folder:  # in the cache huggingface_hub sees to it
            asked = len(hub.ranges)
            assert pull(address, tmp_path / "home", "hpsv2", *options).returncode == 0
            assert len(hub.ranges) == asked, "what is there is not fetched again"
    root = tmp_path / "rewards" if into_folder else tmp_path / "home"
    [file] = root.rglob("HPS_v2_compressed.pt")
    assert file.read_bytes() == hub.files["/xswu/HPSv2/resolve/main/HPS_v2_compressed.pt"]


def test_a_download_with_another_hash_is_deleted(tmp_path):
    with answering(Hub(hub_files(), wrong_hash=True).answer) as address:
        ran = pull(address, tmp_path / "home", "hpsv2", "--folder", tmp_path / "rewards")
    assert ran.returncode == 1
    assert "was damaged on the way and has been deleted" in ran.stderr
    assert not list((tmp_path / "rewards").rglob("*.pt"))


def test_a_failed_download_is_a_sentence(tmp_path):
    ran = pull("http://127.0.0.1:9", tmp_path / "home", "hpsv2")
    assert ran.returncode == 1
    assert "HPS_v2_compressed.pt of huggingface.co/xswu/HPSv2 was not fetched" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_small_files_are_checked_by_the_hash_of_git(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_bytes(b"hello\n")
    assert weights.is_intact(file, "ce013625030ba8dba906f756967f9e9ca394464a")  # echo hello | git hash-object --stdin
    assert not weights.is_intact(file, "ce013625030ba8dba906f756967f9e9ca394464b")
