"""Spans of a rollout: their tree, names and numbers, and the texts that they must not hold."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pgv_jax.config import load_config
from pgv_jax.errors import PgvError
from pgv_jax.llm.scripted.server import ScriptedServer
from pgv_jax.rollout import launch
from pgv_jax.rollout.launch import Rollout
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.rollout.tracing import Tracing, open_tracing
from pgv_jax.tasks.base import TASKS
from tests.agents.toy import ACTIONS

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setitem(TASKS, "corridor", "tests.agents.toy:Corridor")
    monkeypatch.setenv("PGV_TEST_KEY", KEY)

    def policy(request: Any, index: int) -> str:
        return f"Thought: I would go right, says sample {index}.\nAction: go right"

    with ScriptedServer(policy, key=KEY) as running:
        yield running


def play(server: ScriptedServer, out: Path, *words: str) -> Rollout:
    given = ["task.name=corridor", "client=openai:scripted", f"api.base_url={server.url}/v1"]
    given += ["api.key_env=PGV_TEST_KEY", "strategy=proposals", "candidates=2", "rounds=0", *words]
    run = Rollout(load_config(None, given, RolloutConfig), out)
    run.run()
    return run


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the SDK's exporter in memory has received; every rollout traces into it."""
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter = memory.InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(launch, "open_tracing", lambda where, out, arm: Tracing(provider, arm))
    return exporter.get_finished_spans


def test_calls_are_in_decisions_and_decisions_in_episodes(
    server: ScriptedServer, tmp_path: Path, spans: Any
) -> None:
    play(server, tmp_path / "run", "task.ids=[north wing]")
    by_name: dict[str, list[Any]] = {}
    for span in spans():
        by_name.setdefault(span.name, []).append(span)
    assert {name: len(found) for name, found in by_name.items()} == {
        "invoke_agent proposals": 1,
        "pgv.decision": 3,
        "chat scripted": 3,
    }
    (episode,) = by_name["invoke_agent proposals"]
    decisions = {d.context.span_id: d for d in by_name["pgv.decision"]}
    assert {d.parent.span_id for d in decisions.values()} == {episode.context.span_id}
    assert {c.parent.span_id for c in by_name["chat scripted"]} == set(decisions)
    assert dict(episode.attributes) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "proposals",
        "gen_ai.conversation.id": "proposals/north wing/0",
        "pgv.task": "north wing",
        "pgv.seed": 0,
        "pgv.steps": 3,
        "pgv.success": True,
        "pgv.score": 1.0,
    }
    assert [d.attributes["pgv.step"] for d in decisions.values()] == [0, 1, 2]


def test_a_call_has_the_conventions_names(
    server: ScriptedServer, tmp_path: Path, spans: Any
) -> None:
    play(server, tmp_path / "run", "task.ids=[north wing]", "task.max_steps=1", "temperature=0.5")
    (call,) = [span for span in spans() if span.name == "chat scripted"]
    about = dict(call.attributes)
    assert call.kind.name == "CLIENT"
    assert about.pop("gen_ai.request.seed") >= 0
    assert about.pop("gen_ai.usage.input_tokens") > 10
    # the scripted tokenizer counts words, and each of the two samples has eleven
    assert about.pop("gen_ai.usage.output_tokens") == 22
    assert about == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 256,
        "gen_ai.request.choice.count": 2,
        "gen_ai.output.type": "json",
        "gen_ai.response.finish_reasons": ("stop", "stop"),
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
        "pgv.samples": 2,
        "pgv.dollars": 0.0,
        "pgv.tries": 1,
    }


def test_what_the_cache_answers_is_no_call(
    server: ScriptedServer, tmp_path: Path, spans: Any
) -> None:
    words = ("task.ids=[north wing]", f"cache={tmp_path / 'cache'}")
    play(server, tmp_path / "a", *words)
    before = len(spans())
    play(server, tmp_path / "b", *words)
    again = spans()[before:]
    assert sorted({span.name for span in again}) == ["invoke_agent proposals", "pgv.decision"]
    assert [s.attributes["pgv.cached"] for s in again if s.name == "pgv.decision"] == [2, 2, 2]


def test_a_refusal_is_named_by_its_kind(server: ScriptedServer, tmp_path: Path, spans: Any) -> None:
    server.next_faults.append("content_filter")
    play(server, tmp_path / "run", "task.ids=[north wing]", "task.max_steps=2")
    calls = [span for span in spans() if span.name == "chat scripted"]
    assert [call.status.status_code.name for call in calls] == ["ERROR", "UNSET"]
    assert calls[0].attributes["error.type"] == "content_filter"
    decisions = [span for span in spans() if span.name == "pgv.decision"]
    assert [d.attributes["pgv.unanswered"] for d in decisions] == [True, False]


def test_what_ends_a_run_ends_its_spans(server: ScriptedServer, tmp_path: Path, spans: Any) -> None:
    server.key = "another"
    with pytest.raises(PgvError):
        play(server, tmp_path / "run", "task.ids=[north wing]")
    assert [span.name for span in spans()] == [
        "chat scripted",
        "pgv.decision",
        "invoke_agent proposals",
    ]
    assert {span.attributes["error.type"] for span in spans()} == {"key"}


def test_no_text_and_no_key_is_in_any_span(
    server: ScriptedServer, tmp_path: Path, spans: Any
) -> None:
    server.next_faults.extend(["refusal", "context", "tool_calls"])
    play(server, tmp_path / "run")
    everything = "".join(span.to_json() for span in spans())
    assert "proposals/south wing/0" in everything
    for text in (KEY, "Thought", "says sample", "room", "Reach the last", *ACTIONS):
        assert text not in everything


def test_values_of_the_critic_are_recorded(tmp_path: Path, spans: Any) -> None:
    from pgv_jax.agents.agent import Decision, View
    from pgv_jax.types import Candidate

    class Wise:
        async def decide(self, view: View) -> Decision:
            candidates = tuple(Candidate(f"t{i}", scores={"g": i / 4}) for i in range(3))
            return Decision(candidates, 2, ())

    import asyncio

    tracing = launch.open_tracing("file", tmp_path / "t", "wise")
    assert tracing is not None
    asyncio.run(tracing.agent(Wise()).decide(View("task", "observation", "observation")))
    (span,) = spans()
    assert span.attributes["pgv.values"] == (0.0, 0.25, 0.5)
    assert (span.attributes["pgv.value"], span.attributes["pgv.chosen"]) == (0.5, 2)


def test_spans_in_a_file_are_lines_of_json(server: ScriptedServer, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    play(server, tmp_path / "run", "task.ids=[north wing]", "tracing=file")
    lines = (tmp_path / "run" / "traces.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) == 7
    assert found[-1]["name"] == "invoke_agent proposals"
    assert found[-1]["resource"]["attributes"]["service.name"] == "pgv"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The ``ResourceSpans`` that a collector on loopback has taken, by OTLP's own messages."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp

    taken: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path != "/v1/traces":
                return self.send_error(404)
            taken.extend(otlp.ExportTraceServiceRequest.FromString(body).resource_spans)
            answer = otlp.ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{listening.server_address[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        yield taken
        listening.shutdown()
        thread.join()


def test_a_collector_takes_the_tree(
    server: ScriptedServer, tmp_path: Path, collector: list[Any]
) -> None:
    play(server, tmp_path / "run", "task.ids=[north wing]", "tracing=otlp")
    names = {a.key: a.value.string_value for r in collector for a in r.resource.attributes}
    assert names["service.name"] == "pgv"
    spans = [span for r in collector for scope in r.scope_spans for span in scope.spans]
    parents = {span.span_id: span.name for span in spans}
    found = sorted((span.name, parents.get(span.parent_span_id, "")) for span in spans)
    assert found == [
        *[("chat scripted", "pgv.decision")] * 3,
        ("invoke_agent proposals", ""),
        *[("pgv.decision", "invoke_agent proposals")] * 3,
    ]
    assert KEY.encode() not in b"".join(r.SerializeToString() for r in collector)


def test_off_by_default(server: ScriptedServer, tmp_path: Path) -> None:
    run = play(server, tmp_path / "run", "task.ids=[north wing]")
    assert run.tracing is None
    assert not list((tmp_path / "run").glob("traces*"))


def test_what_is_absent_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(PgvError, match=r"pip install 'pgv-jax\[otel\]'"):
        open_tracing("file", tmp_path / "t", "arm")
