"""The API encoder against a loopback server, through the official client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from pgv_jax.embed import api
from pgv_jax.embed.api import ApiEncoder
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError

KEY = "sk-secret-0123456789"


class Server(ThreadingHTTPServer):
    """Answers with hash vectors; ``script`` holds a status, body or refusal for the next ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.script: list[int | dict[str, Any] | bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        step = self.server.script.pop(0) if self.server.script else 200
        if isinstance(step, dict | bytes):
            self._answer(200 if isinstance(step, dict) else 400, step)
        elif step != 200:
            told = self.headers["Authorization"]
            self._answer(step, {"error": {"message": f"no: {told}", "type": "x"}})
        else:
            vectors = 3 * HashEncoder(body.get("dimensions", 6)).encode(body["input"])
            rows = [
                {"object": "embedding", "index": i, "embedding": v.tolist()}
                for i, v in enumerate(vectors)
            ]
            usage = {"prompt_tokens": 10 * len(rows), "total_tokens": 10 * len(rows)}
            self._answer(200, {"object": "list", "data": rows[::-1], "model": "m", "usage": usage})

    def _answer(self, status: int, content: dict[str, Any] | bytes) -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture
def encoder(server: Server) -> Iterator[ApiEncoder]:
    with openai.OpenAI(api_key=KEY, base_url=server.url, max_retries=2) as client:
        yield ApiEncoder("api:m", client, "m", price=2.0, texts_a_request=3)


TEXTS = [f"text {i}" for i in range(8)]


def test_vectors_come_back_in_order_with_unit_length_and_are_counted(
    server: Server, encoder: ApiEncoder
) -> None:
    done: list[int] = []
    np.testing.assert_allclose(
        encoder.encode(TEXTS, done.append), HashEncoder(6).encode(TEXTS), atol=1e-6
    )
    assert encoder.dim == 6 and sum(done) == 8
    # One text more than asked for: the width had to be learnt first.
    assert sorted(len(r["input"]) for r in server.requests) == [1, 2, 3, 3]
    assert encoder.stats.tokens == 90 and encoder.dollars == pytest.approx(90 * 2e-6)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_requests_are_retried(server: Server, encoder: ApiEncoder, status: int) -> None:
    server.script = [status, status]
    assert encoder.encode(["a"]).shape == (1, 6)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_no_error_tells_the_key(server: Server, encoder: ApiEncoder, status: int) -> None:
    server.script = [status] * 9
    with pytest.raises(PgvError) as caught:
        encoder.encode(["a"])
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert KEY not in str(caught.value) and server.url in str(caught.value)
    assert KEY not in json.dumps(ApiEncoder("n", encoder._client, "m", dim=6).describe())


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (json.dumps({"error": {"message": "\x1b[2J\u202eno\n such"}}).encode(), r"\x1b[2J\u202eno"),
        (b"[" * 200_000, "failed at"),
    ],
    ids=["escapes", "nested"],
)
def test_what_a_hostile_server_says_is_one_plain_sentence(
    server: Server, encoder: ApiEncoder, said: bytes, shown: str
) -> None:
    server.script = [said]
    with pytest.raises(PgvError) as caught:
        encoder.encode(["a"])
    assert str(caught.value).isprintable() and shown in str(caught.value)


@pytest.mark.parametrize("told", [-1_000_000, None])
def test_tokens_that_cannot_be_lower_no_count(
    server: Server, encoder: ApiEncoder, told: int | None
) -> None:
    row = {"object": "embedding", "index": 0, "embedding": [1.0, 0.0]}
    usage = {"prompt_tokens": told, "total_tokens": told}
    server.script = [{"object": "list", "data": [row], "model": "m", "usage": usage}]
    encoder.encode(["a"])
    assert encoder.stats.tokens == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"data": []}, "answered 0 vectors"),
        ({"data": [{"index": 1, "embedding": [1.0]}]}, "answered 1 vectors"),
        ({"data": [{"index": 0, "embedding": [0.0, 0.0]}]}, "zero or not finite"),
    ],
)
def test_a_wrong_answer_is_an_error(
    server: Server, encoder: ApiEncoder, body: dict[str, Any], message: str
) -> None:
    server.script = [body]
    with pytest.raises(PgvError, match=message):
        encoder.encode(["a"])


def test_the_store_keeps_what_was_paid_for(
    server: Server, encoder: ApiEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgv_jax.embed.storage.store.CHUNK_TEXTS", 3)
    encoder.chunk_characters = 0
    # The first request learns the width; the store then asks for chunks of 3.
    server.script = [200, 200, 400]
    with pytest.raises(PgvError, match="run the command again"):
        EmbeddingStore(tmp_path, encoder).add(TEXTS)
    server.requests.clear()
    report = EmbeddingStore(tmp_path, encoder).add(TEXTS)
    assert report.embedded == 5
    assert sum(len(r["input"]) for r in server.requests) == report.embedded
    np.testing.assert_allclose(
        EmbeddingStore(tmp_path, encoder).lookup(TEXTS), HashEncoder(6).encode(TEXTS), atol=1e-6
    )
    assert KEY not in (tmp_path / "manifest.json").read_text()


def test_odd_texts(server: Server, encoder: ApiEncoder) -> None:
    with pytest.raises(PgvError, match="Text 1 of 2 is empty"):
        encoder.encode(["a", ""])
    assert not server.requests
    encoder.encode(["\ud800", "\x00", "a" * 10**6])
    assert sorted(r["input"][0][:1] for r in server.requests) == ["a", "\ufffd"]
    assert encoder.encode([]).shape == (0, 6)


def test_the_spec_reads_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(PgvError, match="OPENAI_API_KEY"):
        open_encoder("api:m")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("PGV_EMBED_PRICE", "0.5")
    found = open_encoder("api:m?dim=4")
    assert isinstance(found, api.ApiEncoder)
    with found._client:
        assert found.encode(["a"]).shape == (1, 4)
        assert server.requests[0]["dimensions"] == 4 and found.name == "api:m?dim=4"
        assert found.fingerprint != open_encoder("api:m").fingerprint
    for wrong in ("api:m?dim=x", "api:m?dim=0", "api:m?width=4"):
        with pytest.raises(PgvError, match="dim=NUMBER"):
            open_encoder(wrong)
    monkeypatch.setenv("PGV_EMBED_PRICE", "cheap")
    with pytest.raises(PgvError, match="'cheap' is no number"):
        open_encoder("api:m")
