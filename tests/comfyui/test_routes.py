"""The routes of the widget on the real server: what they answer, and what they refuse."""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from tests.comfyui.graphs import node, one_iteration, training
from tests.comfyui.server import Server
from tests.web_schema import checked


def problem(server: Server, path: str, **request: Any) -> tuple[int, str]:
    """Status and sentence of an answer that is not 200, sent as it stands."""
    status, body = raw(server, path, **request)
    assert status != 200
    return status, checked("Problem", json.loads(body))["error"]


def raw(server: Server, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of an answer; no client tidies the path or the headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def run(server: Server) -> str:
    """A finished run of two iterations that keeps every tree."""
    assert server.run(training("routes", iterations=2, save_every=1)).error is None
    return "routes"


def tree_of(server: Server, run: str, which: int | str) -> dict[str, Any]:
    return checked("Tree", server.get(f"/treegrpo/runs/{quote(run)}/trees/{which}"))


def test_a_run_is_listed_with_its_figures(server, run):
    summary = next(each for each in checked("Runs", server.get("/treegrpo/runs"))["runs"] if each["run"] == run)
    rows = [
        json.loads(row)
        for row in (server.base / "output/treegrpo" / run / "metrics.jsonl").read_text().split("\n")[:-1]
    ]
    assert (summary["done"], summary["iterations"]) == (2, 2)
    assert (summary["before"], summary["after"]) == (rows[0]["reward"], rows[-1]["reward"])
    assert (summary["running"], summary["problem"]) == (False, None)
    assert server.view(summary["thumbnail"]).width == 2 * 64
    about = checked("Run", server.get(f"/treegrpo/runs/{run}"))
    assert about["summary"] == summary
    assert about["trees"] == [0, 1]
    assert about["live"]
    assert about["curves"]["reward"] == {"clipscore": [row["reward"]["clipscore"] for row in rows]}
    names = {file["picture"]["filename"] for file in about["files"]}
    assert {"lora.safetensors", "metrics.jsonl", "config.json"} <= names
    assert ".lock" not in names


def test_a_file_that_is_gone_when_it_is_looked_at_is_left_out(server, run):
    """As what a run writes comes and goes; here it is a link to nowhere."""
    gone = server.base / "output" / "treegrpo" / run / "gone"
    gone.symlink_to("nowhere")
    assert run in [each["run"] for each in checked("Runs", server.get("/treegrpo/runs"))["runs"]]
    assert not any("gone" in file["picture"]["filename"] for file in server.get(f"/treegrpo/runs/{run}")["files"])
    gone.unlink()


def test_a_tree_has_the_rewards_of_the_run_folder_and_its_pictures(server, run):
    last, live = tree_of(server, run, 1), tree_of(server, run, "live")
    assert {key: value for key, value in last.items() if key != "sheet"} == {
        key: value for key, value in live.items() if key != "sheet"
    }
    reward = server.get(f"/treegrpo/runs/{run}")["summary"]["after"]["clipscore"]
    scores = last["rewards"]["clipscore"]
    assert sum(scores) / len(scores) == pytest.approx(reward, rel=1e-5)  # six digits are kept
    for tree in (last, live):
        sheet = tree["sheet"]
        assert sheet["tiles"] == sum(2 * generation["count"] for generation in tree["generations"])
        assert server.view(sheet["picture"]).width == sheet["columns"] * sheet["width"]


def test_the_browser_hears_of_a_growing_tree(server):
    events = server.run(training("growing", iterations=2)).events
    news = [checked("TreeNews", data) for kind, data in events if kind == "treegrpo.tree"]
    assert {each["node"] for each in news} == {"train"}
    for iteration in (0, 1):
        mine = [each for each in news if each["iteration"] == iteration]
        assert mine[-1]["complete"]
        assert [each["complete"] for each in mine[:-1]] == [False] * (len(mine) - 1)
        assert mine[0]["index"] == 0
        assert mine[-2]["generation"]["count"] == 4
    assert all(len(json.dumps(each)) < 2000 for each in news)


def test_a_preview_is_a_run_of_one_tree(server):
    history = server.run(one_iteration(iteration=7))
    shown = checked("ShownTree", history.outputs["preview"]["treegrpo"][0])
    tree = tree_of(server, shown["run"], shown["tree"])
    assert tree["complete"]
    assert tree["prompts"] != []
    assert shown["run"] not in [each["run"] for each in server.get("/treegrpo/runs")["runs"]]


def test_the_workflow_is_kept_and_returned(server):
    workflow = {"nodes": [], "links": [], "version": 0.4}
    body = {"prompt": training("drawn", iterations=1), "client_id": "treegrpo-tests"}
    answer = server.post("/prompt", {**body, "extra_data": {"extra_pnginfo": {"workflow": workflow}}})
    assert server.wait(answer["prompt_id"]).error is None
    assert server.get("/treegrpo/runs/drawn/workflow") == workflow
    assert server.get("/treegrpo/runs/drawn")["summary"]["resumable"]
    status, sentence = problem(server, "/treegrpo/runs/growing/workflow")
    assert status == 404
    assert "did not keep its workflow" in sentence


@pytest.mark.parametrize(
    "path",
    [
        "/treegrpo/runs/unknown",
        "/treegrpo/runs/..",
        "/treegrpo/runs/%2e%2e",
        "/treegrpo/runs/..%2F..%2Finput",
        "/treegrpo/runs/%2Fetc",
        "/treegrpo/runs/routes%2F..",
        "/treegrpo/runs/..%5C..",
        "/treegrpo/runs/routes%00",
        "/treegrpo/runs/~",
        "/treegrpo/runs/~%2e%2e",
        "/treegrpo/runs/" + "a" * 2000,
        "/treegrpo/runs/unknown/workflow",
        "/treegrpo/runs/routes/trees/99",
        "/treegrpo/runs/routes/trees/..%2Fconfig",
        "/treegrpo/runs/routes/trees/%2e%2e%2fconfig",
        "/treegrpo/runs/routes/trees/-1",
        "/treegrpo/runs/routes/trees/١",
        "/treegrpo/runs/..%2Ftreegrpo%2Froutes/trees/live",
    ],
)
def test_what_is_not_there_is_a_sentence_and_no_path_leads_out(server, run, path):
    status, body = raw(server, quote(path, safe="/%~"))
    assert status == 404
    if body.startswith(b"{"):  # else no route matched at all
        assert "not there" in json.loads(body)["error"] or "has no tree" in json.loads(body)["error"]
    assert str(server.base) not in body.decode()


@pytest.mark.parametrize("content", ["", "{", '{"iteration": 1', "[]", "null", '"tree"', "{}", "\ud800", "[" * 50_000])
def test_a_damaged_tree_says_so(server, run, content):
    file = server.base / "output" / "treegrpo" / run / "trees" / "77.json"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        status, sentence = problem(server, f"/treegrpo/runs/{run}/trees/77")
        assert status == 500
        assert "77.json" in sentence
    finally:
        file.unlink()


def test_a_damaged_run_is_still_listed(server):
    folder = server.base / "output" / "treegrpo" / "damaged"
    (folder / "trees").mkdir(parents=True)
    (folder / "config.json").write_text("{")
    (folder / "metrics.jsonl").write_text('{"iteration": 0, "reward": {"r": 0.5}, "spread": {}}\n{"iterat')
    (folder / "trees" / "x.json").write_text("{}")
    summary = next(each for each in checked("Runs", server.get("/treegrpo/runs"))["runs"] if each["run"] == "damaged")
    assert "config.json" in summary["problem"]
    about = checked("Run", server.get("/treegrpo/runs/damaged"))
    assert about["curves"]["reward"] == {"r": [0.5]}
    assert about["curves"]["watched"] == {}, "rows from before rewards were watched have none"
    assert about["trees"] == []


def test_judgements_are_kept_when_a_long_run_is_thinned_out(server):
    folder = server.base / "output" / "treegrpo" / "long"
    folder.mkdir(parents=True)
    rows = [{"iteration": i, "reward": {"r": 0.5}, "spread": {"r": 0.1}, "heldout": None} for i in range(5000)]
    for i in (1000, 1001, 4000):
        rows[i] |= {"heldout": 0.25, "watched": {"w": i / 5000}}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = checked("Run", server.get("/treegrpo/runs/long"))["curves"]
    assert len(curves["iteration"]) < 2010
    judged = [i for i, heldout in zip(curves["iteration"], curves["heldout"], strict=True) if heldout is not None]
    assert judged == [1000, 1001, 4000]
    assert [mark for mark in curves["watched"]["w"] if mark is not None] == [0.2, 0.2002, 0.8]


def test_only_votes_are_posted(server):
    for path in ("/treegrpo/runs", "/treegrpo/runs/routes", "/treegrpo/runs/routes/trees/1", "/treegrpo/ballots"):
        assert raw(server, path, "POST", b"{}", Content_Type="application/json")[0] == 405
        assert raw(server, path, "DELETE")[0] == 405


def voting(run: str, how: str = "stars", minutes: float = 0.0, **settings: Any) -> dict[str, Any]:
    """A training whose only judge is a person."""
    graph = training(run, **{"iterations": 1, **settings})
    graph["reward"] = node(
        "TreeGRPO_Reward", reward="human_votes", reward__how=how, reward__timeout_minutes=minutes, weight=1.0
    )
    return graph


def open_ballots(server: Server) -> list[dict[str, Any]]:
    return checked("Ballots", server.get("/treegrpo/ballots"))["ballots"]


def wait_for_ballots(server: Server, running: str) -> list[dict[str, Any]]:
    """The ballots of a training that has just been queued."""
    server.wait_for_event(running, "treegrpo.ballots")
    return open_ballots(server)


@pytest.fixture
def ballots(server: Server) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A training that waits for votes, and its ballots; interrupted afterwards, if it still runs."""
    running = server.queue(voting(f"waiting {uuid.uuid4()}"))
    yield running, wait_for_ballots(server, running)
    server.interrupt()
    server.wait(running)
    assert open_ballots(server) == []


def test_votes_become_advantages(server):
    running = server.queue(voting("voted"))
    first, second = wait_for_ballots(server, running)
    assert [(each["place"], each["of"], each["how"]) for each in (first, second)] == [(1, 2, "stars"), (2, 2, "stars")]
    assert len(first["pictures"]) == 4
    assert server.view(first["pictures"][0]).size == (64, 64)
    server.post(f"/treegrpo/ballots/{first['id']}", {"votes": [5, 1, None, 3]})
    assert [each["id"] for each in open_ballots(server)] == [second["id"]]
    server.post(f"/treegrpo/ballots/{second['id']}", {"votes": None})
    history = server.wait(running)
    assert history.error is None
    tree = tree_of(server, "voted", "live")
    assert tree["rewards"]["human_votes"] == [1.0, -1.0, 0.0, 0.0] + [None] * 4
    # Standardised: the mean is 0, the spread sqrt(1/2).
    assert tree["leaf_advantage"] == pytest.approx([2**0.5, -(2**0.5), 0, 0] + [0] * 4, abs=1e-5)
    said = [checked("BallotNews", data)["open"] for kind, data in history.events if kind == "treegrpo.ballots"]
    assert said == [2, 1, 0, 0]


def test_the_same_pictures_are_not_asked_about_twice(server):
    """An interrupt in the middle of voting keeps the votes; the run repeats its iteration and asks for the rest."""
    running = server.queue(voting("twice"))
    first, second = wait_for_ballots(server, running)
    server.post(f"/treegrpo/ballots/{first['id']}", {"votes": [4, None, 2, 3]})
    server.interrupt()
    assert server.wait(running).outputs["train"]["text"] == [
        "Interrupted before an iteration was done; queue it again to go on."
    ]
    again = server.queue(voting("twice"))
    (left,) = wait_for_ballots(server, again)
    assert left["prompt"] == second["prompt"]
    server.post(f"/treegrpo/ballots/{left['id']}", {"votes": [1, 2, 3, 4]})
    assert server.wait(again).error is None
    assert tree_of(server, "twice", "live")["rewards"]["human_votes"] == [0.5, 0, -0.5, 0, -1, -0.5, 0, 0.5]


def test_ballots_that_nobody_fills_in_are_left_out_in_time(server):
    history = server.run(voting("alone", minutes=0.02))
    assert history.error is None
    assert tree_of(server, "alone", "live")["rewards"]["human_votes"] == [None] * 8
    assert "no votes" in history.outputs["train"]["text"][0]
    assert server.get("/treegrpo/runs/alone")["curves"]["reward"] == {"human_votes": [None]}


def test_votes_mix_with_other_rewards(server):
    graph = voting("mixed", how="thumbs")
    graph["jpeg"] = node("TreeGRPO_Reward", reward="jpeg_compressibility", weight=0.5)
    graph["train"]["inputs"]["rewards.reward1"] = ["jpeg", 0]
    running = server.queue(graph)
    for ballot in wait_for_ballots(server, running):
        server.post(f"/treegrpo/ballots/{ballot['id']}", {"votes": [1, -1, None, None]})
    assert server.wait(running).error is None
    tree = tree_of(server, "mixed", "live")
    assert set(tree["rewards"]) == {"human_votes", "jpeg_compressibility"}
    assert tree["leaf_advantage"][0] > tree["leaf_advantage"][1]


def test_score_asks_for_votes_too(server):
    graph = one_iteration()
    del graph["save"]  # other tests have gone further under its name
    graph["reward"] = voting("none", how="rank")["reward"]
    running = server.queue(graph)
    for ballot in wait_for_ballots(server, running):
        server.post(f"/treegrpo/ballots/{ballot['id']}", {"votes": [2, 1, None, None]})
    assert server.wait(running).error is None
    assert len(list((server.base / "output" / "treegrpo votes").glob("*.json"))) == 2


MALFORMED = [
    b"",
    b"{",
    b"[]",
    b"5",
    b"{}",
    b'{"votes": 5}',
    b'{"votes": [1, 2, 3]}',
    b'{"votes": [1, 2, 3, 4, 5]}',
    b'{"votes": [1, 2, 3, 6]}',
    b'{"votes": [1, 2, 3, 0]}',
    b'{"votes": [1, 2, 3, -1]}',
    b'{"votes": [1, 2, 3, 1.5]}',
    b'{"votes": [1, 2, 3, true]}',
    b'{"votes": [1, 2, 3, "4"]}',
    b'{"votes": [1, 2, 3, NaN]}',
    b'{"votes": [1, 2, 3, 4], "path": "/etc"}',
    b'{"votes": [1, 2, 3, 4]',
    b"\xff\xfe",
    b"[" * 50_000,
]


def test_malformed_votes_are_refused_and_the_ballot_stays_open(server, ballots):
    _, waiting = ballots
    path = f"/treegrpo/ballots/{waiting[0]['id']}"
    for body in MALFORMED:
        status, sentence = problem(server, path, method="POST", body=body, Content_Type="application/json")
        assert status == 400, body[:60]
        assert "vote" in sentence
    large = b'{"votes": [' + b"1," * 100_000 + b"1]}"
    assert problem(server, path, method="POST", body=large, Content_Type="application/json")[0] == 413
    fine = json.dumps({"votes": [1, 2, 3, 4]}).encode()
    assert problem(server, path, method="POST", body=fine, Content_Type="text/plain")[0] == 415
    foreign = {"Content_Type": "application/json", "Origin": "http://evil.example"}
    assert raw(server, path, method="POST", body=fine, **foreign)[0] == 403
    assert (
        problem(server, "/treegrpo/ballots/unknown", method="POST", body=fine, Content_Type="application/json")[0]
        == 404
    )
    assert open_ballots(server) == waiting
    own = {"Content_Type": "application/json", "Origin": f"http://127.0.0.1:{server.port}"}
    assert raw(server, path, method="POST", body=fine, **own)[0] == 200
    assert problem(server, path, method="POST", body=fine, Content_Type="application/json")[0] == 404


def test_two_people_answer_one_ballot_once(server, ballots):
    _, waiting = ballots
    statuses = []

    def vote() -> None:
        body = json.dumps({"votes": [1, 2, 3, 4]}).encode()
        path = f"/treegrpo/ballots/{waiting[0]['id']}"
        statuses.append(raw(server, path, "POST", body, Content_Type="application/json")[0])

    people = [threading.Thread(target=vote) for _ in range(8)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(statuses) == [200] + [404] * 7


def test_a_deleted_run_is_a_sentence(server):
    folder = server.base / "output" / "treegrpo" / "deleted"
    folder.mkdir()
    assert server.get("/treegrpo/runs/deleted")["summary"]["done"] == 0
    folder.rmdir()
    status, sentence = problem(server, "/treegrpo/runs/deleted")
    assert (status, "not there any more" in sentence) == (404, True)
    with pytest.raises(HTTPError):
        server.get("/treegrpo/runs/deleted/trees/live")
