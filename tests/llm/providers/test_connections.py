"""What the vendors' libraries send, over their own HTTP clients, as the environment says."""

import asyncio
import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.llm.client import ClientError, Request
from pgv_jax.llm.providers.formats import vendor_library
from pgv_jax.llm.providers.openai import OpenAIClient
from pgv_jax.llm.scripted import wire
from tests.llm.providers.raw_server import (
    ASK,
    KEY,
    VENDORS,
    answering,
    ask,
    good,
    opened,
    reply,
)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, and no proxies."""
    monkeypatch.setenv("PGV_TEST_KEY", KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    pytest.importorskip({"google": "google.genai"}.get(name, name))
    return name


def test_requests_are_the_openai_librarys_own_and_differ_in_their_body_alone() -> None:
    seen = []

    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        assert int(headers.pop("content-length")) == len(body)
        seen.append((line, headers, json.loads(body)))
        return reply(good("openai"))

    other = Request([{"role": "user", "content": "Où \u2028 \x00?"}], max_tokens=7, stop=("x",))
    with answering(answer) as url:
        assert [c.text for c in ask(opened("openai", url), ASK, other)] == ["East.", "East."]
    (line, headers, first), (*like, second) = seen
    assert line == "POST /chat/completions HTTP/1.1" and [line, headers] == like
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("AsyncOpenAI/Python")
    assert first == {"messages": ASK.messages, "model": "m", "max_tokens": 64, "temperature": 1.0}
    assert second == {**first, "messages": other.messages, "max_tokens": 7, "stop": ["x"]}


def test_a_redirect_within_one_address_is_followed_with_the_body(vendor: str) -> None:
    lines = []

    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        path = line.split()[1]
        lines.append(path)
        if path.startswith("/old"):
            return reply(b"", "308 Permanent Redirect", f"location: {path.removeprefix('/old')}")
        assert b"What next?" in body
        return reply(good(vendor))

    with answering(answer) as url:
        (completion,) = ask(opened(vendor, f"{url}/old"))
    assert completion.text == "East."
    assert len(lines) == 2 and lines[0] == f"/old{lines[1]}"


def test_a_compressed_reply_is_read(vendor: str) -> None:
    packed = gzip.compress(json.dumps(good(vendor)).encode())
    with answering(reply(packed, "200 OK", "content-encoding: gzip")) as url:
        assert ask(opened(vendor, url))[0].text == "East."


def test_a_reply_that_is_not_what_its_header_says_is_one_sentence(vendor: str) -> None:
    with (
        answering(reply(good(vendor), "200 OK", "content-encoding: gzip")) as url,
        pytest.raises(ClientError, match="broke the connection off"),
    ):
        ask(opened(vendor, url))


def test_a_reply_in_pieces_is_read(vendor: str) -> None:
    whole = json.dumps(good(vendor)).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (whole[:9], whole[9:])) + b"0\r\n\r\n"
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    with answering(head + pieces) as url:
        assert ask(opened(vendor, url))[0].text == "East."


def test_a_proxy_of_the_environment_is_used(vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []

    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        lines.append(line)
        return reply(good(vendor))

    with answering(answer) as url:
        monkeypatch.setenv("http_proxy", url)
        assert ask(opened(vendor, "http://model.invalid"))[0].text == "East."
    assert len(lines) == 1 and lines[0].startswith("POST http://model.invalid/")


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_a_server_in_this_process_is_asked_past_every_proxy(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIClient, "here", True)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    with answering(reply(good("openai"))) as url:
        assert ask(opened("openai", url))[0].text == "East."


def test_more_samples_than_one_call_takes_are_asked_in_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OpenAIClient, "most_n", 2)
    asked = []

    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        told = json.loads(body)
        asked.append((told["seed"], told.get("n", 1)))
        texts = [f"{told['seed'] + i}" for i in range(told.get("n", 1))]
        return reply(wire.OPENAI.reply("m", ASK, texts, ""))

    async def main(url: str) -> list[str]:
        async with opened("openai", url) as client:
            return [c.text for c in await client.complete(replace(ASK, n=5, seed=10))]

    with answering(answer) as url:
        assert asyncio.run(main(url)) == ["10", "11", "12", "13", "14"]
    assert sorted(asked) == [(10, 2), (12, 2), (14, 1)]


REFUSALS = {
    "a key of Google's": (
        "400 Bad Request",
        {"error": {"message": "API key not valid. Please pass a valid API key."}},
        "key",
        "refused the key in PGV_TEST_KEY",
    ),
    "a router": (
        "404 Not Found",
        {"error": {"message": "No endpoints found that support structured outputs"}},
        "request",
        "refused the request (404: No endpoints found that support structured outputs)",
    ),
    "FastAPI's list": (
        "422 Unprocessable Entity",
        {"detail": [{"loc": ["body", "n"], "msg": "n must be 1"}, {"msg": "seed is unknown"}]},
        "request",
        "(422: n must be 1; seed is unknown)",
    ),
    "another path": ("404 Not Found", {"detail": "Not Found"}, "host", "has no chat endpoint"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_server_refuses_is_told_by_its_kind(name: str) -> None:
    status, body, kind, said = REFUSALS[name]
    with answering(reply(body, status)) as url, pytest.raises(ClientError) as refused:
        ask(opened("openai", url))
    assert refused.value.kind == kind and said in str(refused.value)


def test_a_library_that_cannot_be_loaded_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_wheel.py").write_text("raise ImportError('libgomp.so.1: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PgvError, match=r"broken_wheel is installed but cannot .*libgomp\.so\.1"):
        vendor_library("broken_wheel", "local")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "gopher://127.0.0.1:9"])
def test_a_proxy_of_another_kind_is_one_sentence(
    vendor: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(PgvError, match="proxies that the environment names cannot be used"):
        ask(opened(vendor, "http://model.invalid"))


def test_certificates_that_cannot_be_read_are_told_where_they_are_asked(
    vendor: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    with pytest.raises(PgvError, match="certificates for https cannot be read"):
        opened(vendor, "https://127.0.0.1:9/v1")
    if vendor == "google":  # whose library reads them whatever the address
        return
    with answering(reply(good(vendor))) as url:
        assert ask(opened(vendor, url))[0].text == "East."
