"""Servers that mean no good, or are broken: one clear sentence each, and nothing given away."""

import asyncio
import logging
from typing import Any

import pytest

from pgv_jax.llm.budget import Budget, Prices, worst_case
from pgv_jax.llm.client import ClientError
from pgv_jax.llm.limits import AdaptiveLimit
from tests.llm.providers.raw_server import ASK, KEY, VENDORS, answering, ask, good, opened, reply

DEEP = 200_000


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGV_TEST_KEY", KEY)


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    pytest.importorskip({"google": "google.genai"}.get(name, name))
    return name


def refused(vendor: str, answer: Any, **more: Any) -> ClientError:
    """The one sentence that comes of an answer."""
    with answering(answer) as url, pytest.raises(ClientError) as caught:
        ask(opened(vendor, url, **more))
    sentence = str(caught.value)
    assert sentence.isprintable() and len(sentence) < 600 and KEY not in sentence
    return caught.value


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_nothing_goes_to_another_host(vendor: str, status: str) -> None:
    reached: list[Any] = []

    def elsewhere(*request: Any) -> bytes:
        reached.append(request)
        return reply(good(vendor))

    with answering(elsewhere) as other:
        error = refused(vendor, reply(b"", status, f"location: {other}/v1?key=hush"))
    assert error.kind == "host" and f"sends requests on to {other}/v1; that" in str(error)
    assert not reached and "hush" not in str(error)


def test_a_circle_of_redirects_is_told(vendor: str) -> None:
    error = refused(vendor, lambda line, *_: reply(b"", "307 T", f"location: {line.split()[1]}"))
    assert error.kind == "host" and "on to itself, again and again" in str(error)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * DEEP,
        b'{"choices": ' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"candidates": ' + b'[{"content": ' * DEEP,
        b'{"usage": ' + b"9" * 10_000 + b"}",
        b"null",
        b"5",
        b'["East."]',
        b'{"choices": 5, "content": 5, "candidates": 5}',
        b'{"choices": "East", "content": "East", "candidates": "East"}',
    ],
    ids=[
        "list",
        "nested choices",
        "nested candidates",
        "digits",
        "null",
        "5",
        "text",
        "int",
        "str",
    ],
)
def test_a_reply_of_another_form_is_one_sentence(vendor: str, content: bytes) -> None:
    error = refused(vendor, reply(content))
    assert error.kind in ("exhausted", "empty")
    assert "sent a reply that is none" in str(error) or "answered without any" in str(error)


def test_a_failure_that_is_nested_too_deep_is_one_sentence(vendor: str) -> None:
    nested = b'{"error": ' + b"[" * DEEP + b"]" * DEEP + b"}"
    error = refused(vendor, reply(nested, "400 Bad Request"))
    if vendor == "google":  # whose library reads it before it tells the status
        assert "sent a reply that is none" in str(error)
    else:
        assert error.kind == "request" and "refused the request (400" in str(error)


@pytest.mark.parametrize("said", [b"NONSENSE\r\n\r\n", b"\x00" * 99, b"HTTP/1.1 \x1b[2J\r\n\r\n"])
def test_what_is_no_http_is_one_sentence(vendor: str, said: bytes) -> None:
    assert "broke the connection off" in str(refused(vendor, said + b"\r\n" * 4))


@pytest.mark.parametrize("status", [304, 600, 999])
def test_a_status_that_is_none_is_one_sentence(vendor: str, status: int) -> None:
    error = refused(vendor, reply(b"" if status == 304 else good(vendor), f"{status} What"))
    assert error.kind == "host" and f"no model's server has ({status}" in str(error)


def test_what_a_terminal_may_obey_is_spelled_out(vendor: str) -> None:
    said = "\x1b]0;pwned\x07\x1b[2J\x9b31m\u202eevil\u2066 no\r\nsuch field"
    body = {"type": "error", "error": {"message": said, "code": "x", "status": "INVALID_ARGUMENT"}}
    error = refused(vendor, reply(body, "400 Bad Request"))
    assert error.kind == "request"
    assert r"\x1b]0;pwned\x07\x1b[2J\x9b31m\u202eevil\u2066 no such field" in str(error)


def test_a_wait_for_ever_is_not_waited_for(vendor: str) -> None:
    error = refused(vendor, reply({}, "429 Slow", "retry-after: 1e999"), tries=2)
    assert error.kind == "quota" and "asks to wait inf s" in str(error)


def usage(vendor: str, prompt: Any, completion: Any) -> dict[str, Any]:
    """A reply that tells this usage."""
    name, first, second = {
        "openai": ("usage", "prompt_tokens", "completion_tokens"),
        "anthropic": ("usage", "input_tokens", "output_tokens"),
        "google": ("usageMetadata", "promptTokenCount", "candidatesTokenCount"),
    }[vendor]
    return good(vendor, **{name: {first: prompt, second: completion}})


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [(-1_000_000, 1), (2, -1_000_000), (0, 0), (2, 0), (10**12, 1), (2, 10**12), (None, None)],
)
def test_a_usage_that_cannot_be_counts_as_the_most_and_is_said_once(
    vendor: str, prompt: Any, completion: Any, caplog: pytest.LogCaptureFixture
) -> None:
    budget = Budget(tokens=10_000)
    worst = worst_case(ASK, 1, Prices(), "m")
    with answering(reply(usage(vendor, prompt, completion))) as url:
        client = opened(vendor, url, budget)
        found = ask(client, ASK, ASK)
    assert [c.text for c in found] == ["East.", "East."]
    assert (budget.spent.tokens, budget.spent.requests) == (2 * worst.tokens, 2)
    assert [(c.prompt_tokens, c.metadata["usage"]) for c in found] == [(0, "unknown")] * 2
    assert client.counts["usage_unknown"] == 2
    (line,) = [r for r in caplog.records if r.name.startswith("pgv_jax")]
    assert line.levelno == logging.WARNING
    assert "such calls count as the most that they can take" in line.getMessage()


def test_a_usage_that_can_be_is_believed(vendor: str, caplog: pytest.LogCaptureFixture) -> None:
    budget = Budget(tokens=10_000)
    with answering(reply(usage(vendor, 11, 3))) as url:
        (completion,) = ask(opened(vendor, url, budget))
    assert (completion.prompt_tokens, completion.completion_tokens) == (11, 3)
    assert budget.spent.tokens == 14 and not caplog.records


def test_a_wait_for_ever_is_sat_out_by_no_call_that_waits_its_turn(vendor: str) -> None:
    async def main(url: str) -> list[Any]:
        client = opened(vendor, url)
        client.limit = AdaptiveLimit(1)
        async with client, asyncio.timeout(15):
            calls = [client.complete(ASK) for _ in range(3)]
            return await asyncio.gather(*calls, return_exceptions=True)

    with answering(reply(b"{}", "429 Slow down", "retry-after: 1000000000")) as url:
        failures = asyncio.run(main(url))
    assert [f.kind for f in failures] == ["quota"] * 3


@pytest.mark.parametrize("charset", ["hex", "undefined", "utf-16", "idna", "no-such"])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
def test_a_character_set_that_is_none_is_one_sentence(
    vendor: str, charset: str, status: str
) -> None:
    said = f"HTTP/1.1 {status}\r\ncontent-type: text/html; charset={charset}\r\ncontent-length: 7"
    error = refused(vendor, said.encode() + b"\r\n\r\n<html>x")
    assert error.kind == ("request" if status.startswith("4") else "exhausted")


@pytest.mark.parametrize(
    ("vendor", "usage", "read"),
    [
        ("anthropic", {"input_tokens": 1, "cache_read_input_tokens": 50, "output_tokens": 2}, 51),
        (
            "anthropic",
            {"input_tokens": 1, "cache_creation_input_tokens": 7, "output_tokens": 2},
            8,
        ),
        ("anthropic", {"input_tokens": 9, "cache_read_input_tokens": -8, "output_tokens": 2}, None),
        (
            "google",
            {"promptTokenCount": 9, "candidatesTokenCount": 500, "thoughtsTokenCount": -499},
            None,
        ),
    ],
)
def test_what_was_cached_or_thought_counts_and_loosens_no_budget(
    vendor: str, usage: dict[str, int], read: int | None
) -> None:
    pytest.importorskip({"google": "google.genai"}.get(vendor, vendor))
    key = {"anthropic": "usage", "google": "usageMetadata"}[vendor]
    worst = worst_case(ASK, 1, Prices(), "m")
    with answering(reply(good(vendor, **{key: usage}))) as url:
        client = opened(vendor, url)
        ask(client)
    spent = client.budget.spent
    expected = (read, 2) if read else (worst.prompt_tokens, worst.completion_tokens)
    assert (spent.prompt_tokens, spent.completion_tokens) == expected


def test_an_absurd_usage_is_told_briefly(caplog: pytest.LogCaptureFixture) -> None:
    usage = {"prompt_tokens": int("9" * 4000), "completion_tokens": 1}
    with answering(reply(good("openai", usage=usage))) as url:
        ask(opened("openai", url))
    (record,) = caplog.records
    assert "a usage of 10^12 and more + 1 tokens" in record.getMessage()


def test_an_error_in_words_within_a_reply_is_told() -> None:
    error = refused("openai", reply({"error": "the model is being loaded"}))
    assert "the model is being loaded" in str(error)


def test_words_of_a_server_are_not_shown_by_its_vendors_library(
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("google.genai")
    odd = good("google")
    odd["candidates"][0]["finishReason"] = "\x1b[2JODD"
    with answering(reply(odd)) as url:
        ask(opened("google", url))
    captured = capfd.readouterr()
    assert "\x1b" not in captured.out + captured.err
