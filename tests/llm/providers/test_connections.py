"""What the vendors' libraries send, over their own HTTP clients, as the environment says."""

import gzip
import json
from pathlib import Path

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.llm.client import ClientError, Request
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
