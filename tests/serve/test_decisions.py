"""The log of decisions: what stands in it, who may read it, and that an import reads it right."""

from __future__ import annotations

import json
import os
import stat

import pytest
from click.testing import CliRunner

from pgv_jax.cli.commands.importing import import_
from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.detection import detect
from pgv_jax.serve.decisions import DecisionLog
from tests.data.importers.reading import imported
from tests.serve.servers import Upstream, completion, message, ours, running

PATH = "/v1/chat/completions"
USER = {"role": "user", "content": "Fly home."}
SEARCH = message("I look first. 0.7", ("search", {"to": "home"}))
FOUND = {"role": "tool", "tool_call_id": "call_search_0", "content": "Two flights."}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Two steps of one session and one of none, with their outcomes."""
    folder = tmp_path_factory.mktemp("served") / "log"
    upstream = Upstream()
    with running(upstream.app()) as address, ours(address, log=folder) as server:

        def ask(messages, *said, **own):
            upstream.script = lambda body: completion(*said)
            wishes = {"candidates": len(said), **own}
            body = {"model": "m", "messages": messages, "pgv": wishes}
            headers = {"authorization": "Bearer sk-" + "a" * 30}
            return server.post(PATH, body, headers=headers).headers["x-pgv-request-id"]

        ask([USER], message("I wait. 0.1"), SEARCH, session="s1")
        best = message("I book. 0.8", ("book", {"n": 7}))
        ask([USER, SEARCH, FOUND], message("No. 0.2"), best, session="s1")
        other = ask([{"role": "user", "content": "Sing."}], message("La. 0.4"), message("Lo. 0.3"))
        assert (
            server.post("/v1/outcomes", {"session_id": "s1", "success": False}).status_code == 200
        )
        assert server.post("/v1/outcomes", {"session_id": "s1", "reward": 1.0}).json()["recorded"]
        server.post("/v1/outcomes", {"request_id": other, "success": False})
    return folder, other


def test_the_log_is_the_users_alone_and_holds_no_key(played):
    folder, _ = played
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = sorted(folder.iterdir())
    assert [f.name.partition("-")[0] for f in files] == [".outcomes.jsonl", "decisions"]
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    assert not any("sk-aaa" in f.read_text() for f in files)


def test_a_decision_by_hand(played):
    folder, _ = played
    (file,) = folder.glob("decisions-*.jsonl")
    _, second, _ = map(json.loads, file.read_text().splitlines())
    assert second["request"] == {"model": "m", "messages": [USER, SEARCH, FOUND]}
    assert [c["message"]["content"] for c in second["candidates"]] == ["No. 0.2", "I book. 0.8"]
    assert (second["chosen"], second["session_id"], second["api"]) == (1, "s1", "chat")
    assert (second["goals"], second["values"]) == (["The task is done."], [[0.2], [0.8]])


def test_an_import_closes_the_loop(played):
    folder, other = played
    (file,) = folder.glob("decisions-*.jsonl")
    assert detect(file).importer.name == "served"
    by_id = {episode.episode_id: episode for episode in imported(folder)[0]}
    assert set(by_id) == {"s1", other}
    flown, sung = by_id["s1"], by_id[other]
    assert (flown.task, flown.success, flown.score) == ("Fly home.", True, 1.0)
    assert (sung.task, sung.success) == ("Sing.", False)
    first, second = flown.steps
    assert (first.observation, first.thought) == ("Fly home.", "I look first. 0.7")
    assert first.action == 'search({"to": "home"})'
    (passed_over,) = first.candidates
    assert (passed_over.thought, passed_over.scores) == ("I wait. 0.1", {"The task is done.": 0.1})
    assert (second.observation, second.action) == ("Two flights.", 'book({"n": 7})')
    assert second.candidates[0].scores == {"The task is done.": 0.2}
    assert (sung.steps[0].action, sung.steps[0].candidates[0].action) == ("La. 0.4", "Lo. 0.3")


def test_outcomes_that_name_no_decision_are_counted_once(played, tmp_path):
    folder, _ = played
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (file,) = tmp_path.glob("decisions-*.jsonl")
    first, *rest = file.read_text().splitlines(keepends=True)
    file.write_text(first)
    (tmp_path / "decisions-9-9-0001.jsonl").write_text("".join(rest))
    with (tmp_path / ".outcomes.jsonl").open("a") as outcomes:
        outcomes.write('{"session_id": "S1", "success": true}\n{"request_id": "r", "reward": 1}\n')
    said = CliRunner().invoke(import_, [str(tmp_path), "--out", str(tmp_path / "out"), "--quiet"])
    assert said.exit_code == 0, said.output
    told = "An outcome in .outcomes.jsonl names no decision beside it; look at its id (2 times)."
    assert told in " ".join(said.output.split())


def test_what_a_kill_left_half_written_is_cut_off(tmp_path):
    DecisionLog(tmp_path).close()
    torn = tmp_path / "decisions-1-1-0001.jsonl"
    torn.write_bytes(b'{"a": 1}\n{"b": ')
    whole = tmp_path / "decisions-1-1-0002.jsonl"
    whole.write_bytes(b'{"a": 1}\n')
    log = DecisionLog(tmp_path)
    assert log.mended == 1
    assert torn.read_bytes() == whole.read_bytes() == b'{"a": 1}\n'
    log.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [torn.name, whole.name]


def test_a_file_that_is_being_written_is_left_alone(tmp_path):
    first = DecisionLog(tmp_path)
    first.write({"a": 1})
    (open_file,) = tmp_path.glob("decisions-*.jsonl")
    with open_file.open("ab") as file:
        file.write(b'{"half')
    second = DecisionLog(tmp_path / ".." / tmp_path.name)
    assert second.mended == 0
    assert open_file.read_bytes().endswith(b'{"half')
    first.close()
    second.close()


def test_files_roll_and_secrets_are_replaced(tmp_path):
    log = DecisionLog(tmp_path, ("common",), roll_bytes=10)
    log.write({"said": "Write to mia@example.com."})
    log.write({"said": "half a pair \ud83d"})
    log.close()
    first, second = sorted(tmp_path.glob("decisions-*.jsonl"))
    assert json.loads(first.read_text()) == {"said": "Write to [REDACTED:email]."}
    assert json.loads(second.read_text()) == {"said": "half a pair \ud83d"}


def test_a_full_disk_loses_no_request(tmp_path, monkeypatch):
    upstream = Upstream()
    upstream.script = lambda body: completion(message("a 0.1"), message("b 0.2"))
    with running(upstream.app()) as address, ours(address, log=tmp_path / "log") as server:

        def full(file, data):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        wishes = {"candidates": 2}
        answer = server.post(PATH, {"model": "m", "messages": [USER], "pgv": wishes})
        monkeypatch.undo()
        assert answer.json()["choices"][0]["message"]["content"] == "b 0.2"
        assert server.metric("pgv_unlogged_total") == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"success": True}, "Give either a request_id or a session_id."),
        ({"session_id": "s", "request_id": "r", "success": True}, "Give either a request_id"),
        ({"session_id": "s"}, "Give a success"),
        ({"session_id": "s", "success": 1}, "'success' must be true or false."),
        ({"session_id": "s", "reward": True}, "'reward' must be a number."),
        ({"session_id": "s", "reward": "much"}, "'reward' must be a number."),
    ],
)
def test_an_outcome_that_is_none_is_refused(server, body, why):
    from pgv_jax.serve.app import outcome_of
    from pgv_jax.serve.refusals import RefusalError

    with pytest.raises(RefusalError, match=why):
        outcome_of(body)


def test_an_outcome_without_a_log_is_refused(server):
    answer = server.post("/v1/outcomes", {"session_id": "s", "success": True})
    assert answer.status_code == 409


@pytest.mark.parametrize("api", ["messages", "responses"])
def test_other_apis_are_read_back_too(tmp_path, api):
    from pgv_jax.data.importers.detection import importer_of

    said = {
        "messages": [{"type": "text", "text": "Go."}],
        "responses": [{"type": "message", "role": "assistant", "content": "Go."}],
    }
    key = {"messages": "content", "responses": "output"}[api]
    asked = {"messages": {"messages": [USER]}, "responses": {"input": "Fly home."}}
    candidates = [{key: said[api]}, {key: [{**said[api][0]}]}]
    record = {
        "pgv_decision": 1,
        "request_id": "r",
        "api": api,
        "request": asked[api],
        "candidates": candidates,
        "chosen": 0,
    }
    log = DecisionLog(tmp_path)
    log.write(record)
    log.close()
    (file,) = tmp_path.glob("decisions-*.jsonl")
    (episode,) = importer_of("served").read(file, Options())
    assert (episode.task, episode.steps[0].action) == ("Fly home.", "Go.")
    assert episode.episode_id == "r"
