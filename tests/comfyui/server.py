"""A real ComfyUI server in a process of its own, and a client that drives it as the browser does."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

from PIL import Image
from websocket import WebSocketException, create_connection

from comfyui.serve import REPOSITORY

CLIENT = "treegrpo-tests"
# The server is on this machine, whatever proxy the environment names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PromptRefused(Exception):
    """ComfyUI did not take a prompt, or not all of it.

    error: what is wrong with the whole, if ComfyUI says so; node_errors: what is wrong, by node id.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(json.dumps(answer, indent=1))
        self.error: dict[str, Any] = answer.get("error", {})
        self.node_errors: dict[str, Any] = answer["node_errors"]


@dataclass(frozen=True)
class History:
    """What became of a prompt.

    status: "success", or "error" after an error or an interrupt; outputs: what each node shows, by node id; messages:
    what ComfyUI keeps of the run; events: all that it told the browser meanwhile, pictures as ("binary", bytes);
    executed and cached: ids of the nodes that ran, in order, and of those whose earlier result was used.
    """

    status: str
    outputs: dict[str, dict[str, Any]]
    messages: list[tuple[str, dict[str, Any]]]
    events: list[tuple[str, Any]]
    executed: list[str]
    cached: list[str]

    @property
    def error(self) -> dict[str, Any] | None:
        """The failure, if there was one: node_id, node_type, exception_type, exception_message, traceback."""
        return next((data for kind, data in self.messages if kind == "execution_error"), None)


class Server:
    """ComfyUI on a free port, from entering the context until leaving it.

    base: its models/, input/, output/, ...; arguments: more of ComfyUI's own. Entering raises RuntimeError with the end
    of the log if ComfyUI stops, or is not up in time.
    """

    def __init__(self, base: Path, arguments: Sequence[str] = ()) -> None:
        self.base = base
        self._arguments = arguments
        self._log = base / "server.log"
        self.port = _free_port()
        self._url = f"http://127.0.0.1:{self.port}"
        self._events: list[tuple[str, Any]] = []
        self._news = threading.Condition()
        self._listening = False

    def __enter__(self) -> Server:
        serve = [sys.executable, "-m", "comfyui.serve", "--port", str(self.port), "--base", str(self.base)]
        command = [*serve, "--", *self._arguments]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._wait_until_up(seconds=120)
            self._socket = create_connection(f"ws://127.0.0.1:{self.port}/ws?clientId={CLIENT}")
        except BaseException:
            self._stop()
            raise
        self._listening = True
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def log(self) -> str:
        """All that ComfyUI has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> Any:
        """The JSON at a path. Raises HTTPError."""
        return json.loads(self._open(path))

    def text(self, path: str) -> str:
        """The text at a path. Raises HTTPError."""
        return self._open(path).decode("utf-8")

    def post(self, path: str, body: Any) -> Any:
        """Post JSON; the answer's JSON, or None if it is empty. Raises HTTPError."""
        answer = self._open(path, json.dumps(body).encode())
        return json.loads(answer) if answer else None

    def object_info(self, node: str | None = None) -> dict[str, Any]:
        """What the browser knows of one node class, or of all by their names."""
        return self.get("/object_info") if node is None else self.get(f"/object_info/{node}")[node]

    def run(self, prompt: dict[str, Any], timeout: float = 120) -> History:
        """Queue a prompt in API format and wait for its end, good or bad. Raises what `queue` and `wait` raise."""
        return self.wait(self.queue(prompt), timeout)

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue a prompt in API format; its id. Raises PromptRefused."""
        try:
            answer = self.post("/prompt", {"prompt": prompt, "client_id": CLIENT})
        except HTTPError as error:
            if error.code != 400:
                raise
            raise PromptRefused(json.loads(error.read())) from None
        if answer["node_errors"]:
            raise PromptRefused(answer)
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 120) -> History:
        """Wait for a queued prompt's end. Raises TimeoutError, or RuntimeError if the server is gone."""

        start = self._wait_for_start(prompt_id, timeout)
        end = self._wait_for(_end_of(prompt_id), timeout, start)
        events = self._events[start : end + 1]
        record = self.get(f"/history/{prompt_id}")[prompt_id]
        ran = [data["node"] for kind, data in events if kind == "executing" and data["node"] is not None]
        messages = [(kind, data) for kind, data in record["status"]["messages"]]
        return History(
            status=record["status"]["status_str"],
            outputs=record["outputs"],
            messages=messages,
            events=events,
            executed=list(dict.fromkeys(ran)),
            cached=next((data["nodes"] for kind, data in messages if kind == "execution_cached"), []),
        )

    def wait_for_event(self, prompt_id: str, kind: str, timeout: float = 120) -> Any:
        """The data of a prompt's first event of a kind, such as "progress". Raises as `wait` does."""
        start = self._wait_for_start(prompt_id, timeout)
        return self._events[self._wait_for(lambda name, _: name == kind, timeout, start)][1]

    def wait_until(self, prompt_id: str, true: Callable[[], bool]) -> None:
        """Wait for what a prompt brings about on its way. Raises AssertionError when it ends before."""
        is_end = _end_of(prompt_id)
        while not true():
            assert not any(is_end(*event) for event in list(self._events)), self.get(f"/history/{prompt_id}")
            with self._news:
                self._news.wait(0.1)

    def interrupt(self) -> None:
        """Interrupt the prompt that runs now."""
        self.post("/interrupt", {})

    def view(self, reference: dict[str, str]) -> Image.Image:
        """A picture that a node shows: one entry of outputs[node]["images"]."""
        query = urlencode({key: reference[key] for key in ("filename", "subfolder", "type")})
        return Image.open(io.BytesIO(self._open(f"/view?{query}")))

    def _open(self, path: str, body: bytes | None = None) -> bytes:
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, body, headers)
        with OPENER.open(request, timeout=60) as answer:
            return answer.read()

    def _wait_for_start(self, prompt_id: str, timeout: float) -> int:
        return self._wait_for(lambda kind, data: kind == "execution_start" and data["prompt_id"] == prompt_id, timeout)

    def _wait_for(self, wanted: Callable[[str, Any], bool], timeout: float, start: int = 0) -> int:
        """The index of the first wanted event from `start` on."""

        def found() -> int | None:
            return next((i for i in range(start, len(self._events)) if wanted(*self._events[i])), None)

        with self._news:
            if not self._news.wait_for(lambda: found() is not None or not self._listening, timeout):
                raise TimeoutError(f"Nothing came within {timeout} s. The log ends with:\n{self._tail()}")
            index = found()
        if index is None:
            raise RuntimeError(f"ComfyUI is gone. Its log ends with:\n{self._tail()}")
        return index

    def _listen(self) -> None:
        """Collect what ComfyUI tells the browser, until the connection ends."""
        try:
            while message := self._socket.recv():
                if isinstance(message, bytes):
                    event = ("binary", message)
                else:
                    told = json.loads(message)
                    event = (told["type"], told["data"])
                with self._news:
                    self._events.append(event)
                    self._news.notify_all()
        except (OSError, WebSocketException):
            pass
        with self._news:
            self._listening = False
            self._news.notify_all()

    def _wait_until_up(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI stopped at its start:\n{self._tail()}")
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"ComfyUI is not up after {seconds} s:\n{self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.log().splitlines()[-40:])

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _end_of(prompt_id: str) -> Callable[[str, Any], bool]:
    """Whether an event is the last of a prompt."""
    return lambda kind, data: kind == "executing" and data["node"] is None and data["prompt_id"] == prompt_id
