"""Whatever goes wrong, a request is answered: by a candidate, by the upstream's error, by ours."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time

import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from tests.serve.servers import completion, message, ours

PATH = "/v1/chat/completions"
ASKED = {
    "model": "m",
    "messages": [{"role": "user", "content": "Go."}],
    "pgv": {"candidates": 3, "patience": 0.2},
}


def good(body: dict) -> dict:
    return completion(*[message(f"a 0.{i}") for i in range(1, body.get("n", 1) + 1)])


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
@pytest.mark.parametrize("strategy", ["best-of-n", "shadow", "off"])
def test_an_upstreams_error_passes_through(upstream, server, status, strategy):
    said = {"error": {"message": "no", "type": "t", "code": "c"}}
    upstream.script = lambda body: JSONResponse(said, status, {"retry-after": "7"})
    answer = server.post(PATH, {**ASKED, "pgv": {"strategy": strategy}})
    assert (answer.status_code, answer.json()) == (status, said)
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b'{"choices": []}', b'{"choices": 3}', b'{"choices": [null, 3]}', b"\xff"],
)
def test_garbage_passes_through(upstream, server, body):
    upstream.script = lambda asked: Response(body, media_type="application/json")
    answer = server.post(PATH, ASKED)
    assert (answer.status_code, answer.content) == (200, body)


def test_one_of_three_candidates_is_missing(upstream, server):
    numbers = itertools.count()

    def script(body):
        if "n" in body or next(numbers) == 1:
            return JSONResponse({"error": {"message": "no"}}, 500 if "n" not in body else 400)
        return completion(message("a 0.5"))

    upstream.script = script
    missing = server.metric("pgv_candidates_missing_total")
    answer = server.post(PATH, ASKED)
    assert answer.status_code == 200
    assert answer.headers["x-pgv-candidates"] == "2"
    assert server.metric("pgv_candidates_missing_total") == missing + 1


def test_a_slow_candidate_is_not_waited_for(upstream, server):
    server.serving.proxy._proposer.knows_n = False
    numbers, release = itertools.count(), threading.Event()

    def script(body):
        if next(numbers) == 0:
            release.wait(20)
        return completion(message("a 0.5"))

    upstream.script = script
    answer = server.post(PATH, ASKED)
    release.set()
    assert answer.headers["x-pgv-candidates"] == "2"


def test_a_failing_critic_passes_the_first_candidate_on(upstream, server):
    upstream.script = good
    server.critic.fails = RuntimeError("broken")
    answer = server.post(PATH, ASKED)
    assert answer.json()["choices"][0]["message"]["content"] == "a 0.1"
    assert answer.headers["x-pgv-fallback"] == "critic_failed"
    assert 'pgv_fallbacks_total{why="critic_failed"}' in server.client.get("/metrics").text


def test_a_slow_critic_passes_the_first_candidate_on(upstream, server):
    upstream.script = good
    release = threading.Event()
    server.critic.wait = lambda: release.wait(20)
    answer = server.post(PATH, {**ASKED, "pgv": {"candidates": 3, "deadline": 0.05}})
    release.set()
    assert answer.json()["choices"][0]["message"]["content"] == "a 0.1"
    assert answer.headers["x-pgv-fallback"] == "deadline"


def test_a_doubting_critic_passes_the_first_candidate_on(upstream, server):
    upstream.script = good
    server.critic.spread = 0.3
    wishes = {"candidates": 3, "details": True, "max_disagreement": 0.2}
    answer = server.post(PATH, {**ASKED, "pgv": wishes})
    assert answer.headers["x-pgv-fallback"] == "doubt"
    assert answer.json()["choices"][0]["message"]["content"] == "a 0.1"
    assert answer.json()["pgv"]["doubt"] == {"disagreement": 0.3, "distance": None}
    wishes["max_disagreement"] = 0.4
    assert "x-pgv-fallback" not in server.post(PATH, {**ASKED, "pgv": wishes}).headers


def test_a_conversation_that_cannot_be_read_passes_the_first_candidate_on(upstream, server):
    upstream.script = good
    answer = server.post(PATH, {**ASKED, "messages": [{"role": "ghost", "content": "Boo."}]})
    assert answer.headers["x-pgv-fallback"] == "unreadable"
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "The body is no JSON object"),
        (b"[]", "it holds no object"),
        (b"\xff", "The body is no JSON object"),
        (b'{"pgv": 3}', "'pgv' must be an object"),
        (b'{"pgv": {"gaols": []}}', "'pgv.gaols' is unknown"),
        (b'{"pgv": {"strategy": "best"}}', "'pgv.strategy' must be one of best-of-n"),
        (b'{"pgv": {"candidates": true}}', "'pgv.candidates' must be a whole number"),
        (b'{"pgv": {"goals": "g"}}', "'pgv.goals' must be a list of sentences"),
        (b'{"pgv": {"goals": ["g"], "weights": [1, 2]}}', "2 weights for 1 goals"),
        (b'{"pgv": {"deadline": -1}}', "'pgv.deadline' must be a number of 0 or more"),
        (b'{"pgv": {"session": ""}}', "'pgv.session' must be a text"),
    ],
)
def test_a_wrong_request_is_one_sentence(server, upstream, body, why):
    answer = server.client.post(PATH, content=body)
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert not upstream.seen


def test_ten_megabytes_pass_and_more_than_the_limit_do_not(upstream, server):
    upstream.script = good
    long = [{"role": "user", "content": "word " * 2_000_000}]
    answer = server.post(PATH, {**ASKED, "messages": long})
    assert answer.headers["x-pgv-choice"] == "2"
    answer = server.client.post(PATH, content=b" " * (32 * 2**20 + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, None)


def test_redirects_are_not_followed(upstream, server):
    upstream.script = lambda body: RedirectResponse("http://127.0.0.1:9/v1/chat/completions")
    answer = server.post(PATH, ASKED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_redirect")
    assert len(upstream.seen) == 1
    assert "location" not in answer.headers


def closing(first: bytes) -> tuple[str, threading.Thread]:
    """An upstream that sends some bytes to whoever comes, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        with listener:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(first)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", thread


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
def test_an_upstream_that_closes_early_is_a_502(sent):
    address, thread = closing(sent)
    with ours(address) as server:
        answer = server.post(PATH, {**ASKED, "pgv": {"strategy": "shadow"}})
        thread.join()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")


def test_a_header_that_nobody_may_send_is_left_out():
    head = b"HTTP/1.1 429 Slow\r\ncontent-length: 2\r\nx-note: \x1b[2J\r\nretry-after: 7\r\n\r\n{}"
    address, thread = closing(head)
    with ours(address) as server:
        answer = server.post(PATH, {**ASKED, "pgv": {"strategy": "off"}})
        thread.join()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert "x-note" not in answer.headers


def test_an_answer_without_an_end_is_a_502(upstream, server, monkeypatch):
    monkeypatch.setattr("pgv_jax.serve.upstream.MOST_BYTES", 1 << 20)
    upstream.script = lambda body: Response(b" " * (2 << 20), media_type="application/json")
    answer = server.post(PATH, ASKED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    assert "longer than 1 MB" in answer.json()["error"]["message"]


def test_a_stream_that_breaks_off_says_so():
    address, thread = closing(HEAD + b"9\r\ndata: {}\n\r\n")
    with ours(address) as server:
        asked = {**ASKED, "stream": True, "pgv": {"strategy": "shadow"}}
        answer = server.post(PATH, asked)
        thread.join()
    *_, last = [line for line in answer.text.splitlines() if line]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_failed"


def test_an_upstream_that_is_silent_is_a_504(upstream):
    release = threading.Event()
    from tests.serve.servers import running

    upstream.script = lambda body: release.wait(20) and {}
    with running(upstream.app()) as address:
        with ours(address, timeout=0.1) as server:
            started = time.monotonic()
            answer = server.post(PATH, {**ASKED, "pgv": {"strategy": "off"}})
            assert time.monotonic() - started < 15
        release.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")


def test_without_an_upstream_and_with_an_unknown_route():
    with ours(None) as server:
        assert server.post(PATH, ASKED).status_code == 501
        missing = server.post("/v1/nothing", {})
        assert missing.json()["error"]["message"] == "POST /v1/nothing is not served."
        assert server.client.get(PATH).status_code == 405


def raw(address: str, *blocks: bytes) -> bytes:
    """What a server says to bytes that come in blocks, until it closes."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        answer = b""
        try:
            for block in blocks:
                connection.sendall(block)
            while block := connection.recv(65_536):
                answer += block
        except ConnectionError:  # it closed while we were still sending
            pass
    return answer


START = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
CHUNKED = START.replace(b"GET /health", b"POST /v1/score") + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (START + b"x-long: ", b"a"),
        (START, b"x-more: a\r\n"),
        (b"GET /", b"a"),
        (CHUNKED + b"0\r\n", b"x-late: a\r\n"),
    ],
    ids=["header", "headers", "address", "trailers"],
)
def test_a_head_without_an_end_is_refused(server, begin, more):
    said = raw(server.address, begin, more * (400_000 // len(more)))
    # Where something is left unread, closing takes the answer along.
    assert said == b"" or said.startswith(b"HTTP/1.1 400 ")
    assert server.client.get("/health").status_code == 200


def test_a_head_of_usual_length_and_a_body_in_small_parts_pass(server):
    long = START + b"x-long: " + b"a" * 30_000 + b"\r\n\r\n"
    assert raw(server.address, long).startswith(b"HTTP/1.1 200 ")
    body = json.dumps({"queries": "a" * 90_000}).encode()
    parts = [b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:45_000], body[45_000:])]
    said = raw(server.address, CHUNKED, *parts, b"0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ") and b"application/json" in said  # ours: no documents
