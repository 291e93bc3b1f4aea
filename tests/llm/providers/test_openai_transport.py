"""What the lean HTTP clients must not lose of the openai library's own."""

import asyncio
import gzip
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import openai
import pytest

from pgv_jax.llm.api_client import ClientOptions
from pgv_jax.llm.client import ClientError, Completion, Request
from pgv_jax.llm.limits import Retry
from pgv_jax.llm.providers.openai import OpenAIClient
from pgv_jax.llm.providers.openai_transport import WholeClient, client_maker
from pgv_jax.llm.providers.opening import open_client

ASK = Request([{"role": "user", "content": "What next?"}], max_tokens=64)
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "East."}}
REPLY = json.dumps({"choices": [CHOICE]}).encode()

Answer = Callable[[str, dict[str, str], bytes], bytes]
"""(first line, headers, body) of a request -> the bytes that answer it."""


def reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "\r\n"]).encode() + body


def ask(
    answer: Answer, http: str, prepare: Callable[[str], str] = str, more: tuple[Request, ...] = ()
) -> Completion:
    """Ask a server on loopback, whose address ``prepare`` may exchange; the last answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            self.wfile.write(answer(self.requestline, headers, body))

        def log_message(self, *about: Any) -> None:
            pass

    async def main(url: str) -> Completion:
        options = ClientOptions(
            base_url=url, key_env="", http=http, timeout=10.0, retry=Retry(tries=1)
        )
        async with open_client("openai:m", options) as client:
            for request in (ASK, *more):
                (completion,) = await client.complete(request)
        return completion

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            return asyncio.run(main(prepare(f"http://127.0.0.1:{server.server_port}")))
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture(params=["httpx", "aiohttp"])
def http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return request.param


def test_a_request_is_the_librarys_own(http: str) -> None:
    seen: list[Any] = []

    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        seen.append((line, headers, json.loads(body)))
        return reply(REPLY)

    assert ask(answer, http).text == "East."
    ((line, headers, body),) = seen
    assert line == "POST /chat/completions HTTP/1.1"
    assert headers["authorization"] == "Bearer none"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("AsyncOpenAI/Python")
    assert body == {
        "messages": ASK.messages,
        "model": "m",
        "max_tokens": 64,
        "temperature": 1.0,
    }


def test_the_next_requests_differ_in_their_body_alone(http: str) -> None:
    seen: list[Any] = []

    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        assert int(headers.pop("content-length")) == len(body)
        seen.append((line, headers, json.loads(body)))
        return reply(REPLY)

    other = Request([{"role": "user", "content": "Où \u2028 \x00?"}], max_tokens=7, stop=("x",))
    ask(answer, http, more=(other, ASK))
    (line, headers, first), (*like, second), (*also, third) = seen
    assert [line, headers] == like == also and first == third
    assert second == {**first, "messages": other.messages, "max_tokens": 7, "stop": ["x"]}


def test_a_redirect_is_followed_with_the_body(http: str) -> None:
    lines = []

    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        lines.append(line.split()[1])
        if line.startswith("POST /old"):
            return reply(b"", "308 Permanent Redirect", "location: /v1/chat/completions")
        assert json.loads(body)["model"] == "m"
        return reply(REPLY)

    assert ask(answer, http, lambda url: f"{url}/old").text == "East."
    assert lines[0] == "/old/chat/completions" and lines[-1] == "/v1/chat/completions"


def test_a_compressed_reply_is_read(http: str) -> None:
    answer = reply(gzip.compress(REPLY), "200 OK", "content-encoding: gzip")
    assert ask(lambda *_: answer, http).text == "East."


def test_a_reply_that_is_not_what_its_header_says_is_one_sentence(http: str) -> None:
    answer = reply(REPLY, "200 OK", "content-encoding: gzip")
    with pytest.raises(ClientError, match="broke the connection off"):
        ask(lambda *_: answer, http)


def test_a_reply_in_pieces_is_read(http: str) -> None:
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (REPLY[:9], REPLY[9:])) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert ask(lambda *_: head + pieces, http).text == "East."


def test_a_proxy_of_the_environment_is_used(http: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []

    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        lines.append(line)
        return reply(REPLY)

    def prepare(url: str) -> str:
        monkeypatch.setenv("http_proxy", url)
        return "http://model.invalid/v1"

    assert ask(answer, http, prepare).text == "East."
    assert lines == ["POST http://model.invalid/v1/chat/completions HTTP/1.1"]


def test_exceptions_alone_are_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "localhost")
    make = client_maker(openai, "http://localhost/v1", over_aiohttp=True)
    assert isinstance(make(), WholeClient)
    monkeypatch.setenv("http_proxy", "http://localhost:9")
    make = client_maker(openai, "http://localhost/v1", over_aiohttp=True)
    assert not isinstance(make(), WholeClient)


def test_options_that_the_library_keeps_elsewhere_are_made_by_it(
    http: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = OpenAIClient._open

    def without(client: OpenAIClient, key: str) -> None:
        opened(client, key)
        assert client._asked is not None
        client._asked = None

    monkeypatch.setattr(OpenAIClient, "_open", without)
    assert ask(lambda *_: reply(REPLY), http).text == "East."
