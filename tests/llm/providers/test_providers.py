import asyncio
import json
import logging
import traceback
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ApiClient, ClientOptions, shares
from pgv_jax.llm.budget import Budget, Prices
from pgv_jax.llm.cache import CachedClient, ResponseCache
from pgv_jax.llm.client import ClientError, Completion, Request, json_schema, schema_of
from pgv_jax.llm.limits import Retry
from pgv_jax.llm.providers.opening import open_client
from pgv_jax.llm.scripted.server import ScriptedServer

KEY = "sk-very-secret-0123456789"
ASK = Request(
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What next?"}],
    n=3,
    seed=5,
    max_tokens=64,
)
FAST = Retry(base=1e-4, tries=4)
VENDORS = ["openai", "anthropic", "google"]


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda r, i: f"sample {i} of seed {r.seed}") as server:
        yield server


@pytest.fixture
def server(running: ScriptedServer) -> ScriptedServer:
    running.forget()
    running.key, running.honours_n, running.capacity = KEY, True, None
    running.latency, running.retry_after = 0.0, 0.01
    return running


@pytest.fixture
def open_(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ApiClient]:
    """Opens a client of a vendor on the scripted server."""
    monkeypatch.setenv("PGV_TEST_KEY", KEY)

    def opener(vendor: str = "openai", model: str = "scripted", **more: Any) -> ApiClient:
        if vendor != "openai":
            pytest.importorskip({"google": "google.genai"}.get(vendor, vendor))
        budget, prices = more.pop("budget", None), more.pop("prices", None)
        url = server.url + ("/v1" if vendor == "openai" else "")
        settings = {"base_url": url, "key_env": "PGV_TEST_KEY", "timeout": 20.0, "retry": FAST}
        options = ClientOptions(**(settings | more))
        return open_client(f"{vendor}:{model}", options, budget=budget, prices=prices)

    return opener


def ask(client: ApiClient, *requests: Request) -> list[list[Completion]]:
    async def main() -> list[list[Completion]]:
        async with client:
            return [await client.complete(request) for request in requests]

    return run(main())


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


@pytest.mark.parametrize("vendor", VENDORS)
def test_samples_come_in_order_with_their_cost(
    vendor: str, open_: Callable[..., ApiClient], server: ScriptedServer
) -> None:
    prices = Prices({"scripted": {"input": 1e6, "output": 2e6}})
    client = open_(vendor, prices=prices)
    ((first, second, third),) = ask(client, ASK)
    if vendor == "anthropic":  # neither n nor seed
        assert {first.text, second.text, third.text} == {"sample 0 of seed None"}
        assert len(server.calls) == 3
    else:
        assert [first.text[:8], second.text[:8], third.text[:8]] == [
            f"sample {i}" for i in range(3)
        ]
        assert "seed 5" in first.text and len(server.calls) == 1
    samples = (first, second, third)
    calls = len(server.calls)
    assert sum(c.prompt_tokens for c in samples) == 4 * calls
    assert sum(c.completion_tokens for c in samples) == 5 * 3
    assert sum(c.dollars for c in samples) == pytest.approx(4 * calls + 2 * 15)
    assert client.budget.spent.tokens == 4 * calls + 15
    assert all(c.metadata["finish"] for c in samples)
    read = server.calls[0].request
    assert read.messages == ASK.messages and read.max_tokens == 64


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("fault", ["429", "500", "reset", "truncate", "garbage"])
def test_what_passes_is_tried_again(
    vendor: str, fault: str, open_: Callable[..., ApiClient], server: ScriptedServer
) -> None:
    server.next_faults.extend([fault, fault])
    client = open_(vendor)
    (samples,) = ask(client, replace(ASK, n=1))
    assert samples[0].text.startswith("sample 0")
    assert samples[0].metadata["tries"] == 3
    assert client.counts["retries"] == 2
    # what was lost on the way may have been charged: it is not forgotten
    lost = fault in ("reset", "truncate", "garbage")
    assert client.budget.spent.requests == (3 if lost else 1)


def test_a_stall_ends_at_the_timeout(
    open_: Callable[..., ApiClient], server: ScriptedServer
) -> None:
    server.next_faults.append("stall")
    client = open_(timeout=2.0)
    (samples,) = ask(client, ASK)
    assert len(samples) == 3 and client.counts["retries"] == 1
    assert client.budget.uncertain.requests == 1


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("fault", "kind", "sentence"),
    [
        ("empty", "empty", "answered without any choice"),
        ("content_filter", "content_filter", "content filter of .* refused"),
        ("refusal", "refusal", "refused to answer"),
        ("tool_calls", "tool_calls", "tool calls where text was expected"),
        ("length", "empty", "raise max_tokens"),
        ("context", "context", "too long for 'scripted'"),
        ("quota", "quota", "no credit left"),
    ],
)
def test_each_failure_is_one_sentence(
    vendor: str,
    fault: str,
    kind: str,
    sentence: str,
    open_: Callable[..., ApiClient],
    server: ScriptedServer,
) -> None:
    if (vendor, fault) == ("google", "refusal"):  # there a refusal is a filter's finish reason
        kind, sentence = "content_filter", "content filter of .* cut in"
    server.next_faults.append(fault)
    with pytest.raises(ClientError, match=sentence) as caught:
        ask(open_(vendor), ASK)
    assert caught.value.kind == kind
    assert caught.value.stops_run == (kind == "quota")
    assert "\n" not in str(caught.value) and len(server.next_faults) == 0


@pytest.mark.parametrize("vendor", VENDORS)
def test_wrong_key_model_path_and_host_are_told(
    vendor: str,
    open_: Callable[..., ApiClient],
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failure(*arguments: Any, **more: Any) -> ClientError:
        with pytest.raises(ClientError) as caught:
            ask(open_(vendor, *arguments, **more), ASK)
        assert caught.value.stops_run
        return caught.value

    wrong = failure("unheard-of")
    assert wrong.kind == "model" and "'unheard-of' is unknown to http://127.0.0.1" in str(wrong)
    wrong = failure(base_url=server.url + "/nothing/here")
    assert wrong.kind == "host" and "base_url usually ends in /v1" in str(wrong)
    wrong = failure(base_url="http://127.0.0.1:9/v1")
    assert wrong.kind == "host" and "cannot be reached" in str(wrong)
    monkeypatch.setenv("PGV_TEST_KEY", "sk-wrong")
    wrong = failure()
    assert wrong.kind == "key" and "refused the key in PGV_TEST_KEY" in str(wrong)
    assert "sk-wrong" not in str(wrong)  # the server names the key that it was given
    assert not any(call.paid for call in server.calls)


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_key_appears_nowhere(
    vendor: str,
    open_: Callable[..., ApiClient],
    server: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    cache = ResponseCache(tmp_path / "cache")
    budget = Budget(requests=50, ledger=tmp_path / "ledger")
    seen: list[str] = []

    async def main() -> None:
        async with open_(vendor, budget=budget) as client:
            cached = CachedClient(client, cache)
            server.next_faults.extend(["429", "truncate", "reset"])
            await cached.complete(ASK)
            seen.extend([repr(client), str(client.identity), repr(client.endpoint), repr(cached)])
            seen.append(repr(client.options))
            server.key = "another"  # from now on the server refuses, and echoes, our key
            try:
                await cached.complete(replace(ASK, seed=6))
            except ClientError as error:
                seen.extend(traceback.format_exception(error))
                seen.append(repr(error.__cause__))

    run(main())
    cache.close()
    seen.append(caplog.text)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    seen.extend(path.read_text() for path in files)
    assert len(files) == 2 and any("***" in text for text in seen)
    assert KEY in str(server.calls[0].headers)  # it did travel where it belongs
    assert not any(KEY in text for text in seen)


def test_keys_that_cannot_be_sent_are_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ClientOptions(key_env="PGV_TEST_KEY")
    monkeypatch.delenv("PGV_TEST_KEY", raising=False)
    with pytest.raises(ClientError, match="PGV_TEST_KEY holds no key"):
        open_client("m", options)
    monkeypatch.setenv("PGV_TEST_KEY", "sk-schl\u00fcssel")
    with pytest.raises(ClientError, match="characters that no key has") as caught:
        open_client("m", options)
    assert "sk-schl" not in str(caught.value)


def test_a_server_without_n_is_asked_one_by_one(
    open_: Callable[..., ApiClient], server: ScriptedServer
) -> None:
    server.honours_n = False
    first, second = ask(open_(), ASK, replace(ASK, seed=50))
    assert [c.text for c in first] == [f"sample 0 of seed {s}" for s in (5, 6, 7)]
    assert [c.text for c in second] == [f"sample 0 of seed {s}" for s in (50, 51, 52)]
    assert [call.request.n for call in server.calls] == [3, 1, 1, 1, 1, 1]


def test_samples_that_did_arrive_travel_with_the_error(
    open_: Callable[..., ApiClient], server: ScriptedServer
) -> None:
    server.next_faults.append("refusal")
    with pytest.raises(ClientError) as caught:
        ask(open_(samples="parallel"), replace(ASK, first=4))
    assert sorted(caught.value.completions) != [4, 5, 6]
    assert len(caught.value.completions) == 2 and len(server.calls) == 3


def test_the_limit_settles_at_what_the_server_takes(
    open_: Callable[..., ApiClient], server: ScriptedServer
) -> None:
    server.capacity, server.latency, server.retry_after = 4, 0.002, 0.002
    client = open_(concurrency=32, retry=Retry(base=1e-3, tries=200))

    async def main() -> None:
        async with client:
            requests = [replace(ASK, n=1, seed=seed) for seed in range(150)]
            await asyncio.gather(*(client.complete(request) for request in requests))

    run(main())
    assert client.limit.limit < 12  # from 32; it hunts around the 4 that fit
    assert client.limit.rejections == sum(call.fault == "429" for call in server.calls) > 0
    assert sum(call.paid for call in server.calls) == 150


@pytest.mark.parametrize("vendor", VENDORS)
def test_half_a_character_becomes_the_replacement_character(
    vendor: str,
    open_: Callable[..., ApiClient],
    monkeypatch: pytest.MonkeyPatch,
    server: ScriptedServer,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(server, "_policy", lambda request, index: "cut \ud83d off")
    client = CachedClient(open_(vendor), ResponseCache(tmp_path))
    (answers, again) = run(_twice(client))
    assert {answer.text for answer in (*answers, *again)} == {"cut \ufffd off"}


async def _twice(client: CachedClient) -> tuple[list[Completion], list[Completion]]:
    async with client._client:
        return await client.complete(ASK), await client.complete(ASK)


def test_a_budget_stops_before_it_is_passed_as_counted_by_the_server(
    open_: Callable[..., ApiClient], server: ScriptedServer
) -> None:
    budget = Budget(requests=7, tokens=10_000)
    client = open_(budget=budget)

    async def main() -> list[Any]:
        async with client:
            requests = [replace(ASK, seed=seed) for seed in range(12)]
            calls = [client.complete(request) for request in requests]
            return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = run(main())
    stopped = [outcome for outcome in outcomes if isinstance(outcome, ClientError)]
    assert len(stopped) == 5 and {error.kind for error in stopped} == {"budget"}
    assert sum(call.paid for call in server.calls) == budget.spent.requests == 7


def test_a_long_retry_after_is_told_and_not_waited_for(
    open_: Callable[..., ApiClient], server: ScriptedServer
) -> None:
    server.retry_after = 7200
    server.next_faults.append("429")
    with pytest.raises(ClientError, match="asks to wait 7200 s"):
        ask(open_(), ASK)


def test_tries_end(open_: Callable[..., ApiClient], server: ScriptedServer) -> None:
    server.next_faults.extend(["500"] * 4)
    with pytest.raises(ClientError, match="try 4 of 4; run the same command again") as caught:
        ask(open_(), ASK)
    assert caught.value.kind == "exhausted" and len(server.calls) == 4


def test_extra_fields_travel_and_omitted_ones_do_not(
    open_: Callable[..., ApiClient], server: ScriptedServer
) -> None:
    client = open_(extra={"seed": 77}, omit=("temperature",))
    plain = open_()
    ask(client, replace(ASK, temperature=0.3))
    ask(plain, replace(ASK, temperature=0.3))
    sent, usual = (call.request for call in server.calls)
    assert (sent.temperature, sent.seed) == (1.0, 77)
    assert (usual.temperature, usual.seed) == (0.3, 5)
    assert client.identity != plain.identity


def test_user_and_query_of_an_address_stay_out_of_sight(
    open_: Callable[..., ApiClient],
) -> None:
    client = open_(base_url="http://me:hush@127.0.0.1:9/v1/?token=hush")
    assert client.identity["base_url"] == "http://127.0.0.1:9/v1"
    assert "hush" not in repr(client) + str(client.identity) + repr(client.endpoint)
    run(client.aclose())


@pytest.mark.part("openai")
@pytest.mark.parametrize(
    ("request_", "sentence"),
    [(replace(ASK, n=0), "n >= 1"), (replace(ASK, max_tokens=0), "max_tokens >= 1")],
)
def test_impossible_requests_are_told(
    request_: Request, sentence: str, open_: Callable[..., ApiClient]
) -> None:
    with pytest.raises(PgvError, match=sentence):
        ask(open_(), request_)


def test_shares_add_up() -> None:
    assert shares(10, [1, 1, 1]) == [3, 3, 4]
    assert shares(7, [0, 0]) == [3, 4]
    assert shares(0, [5, 1]) == [0, 0]
    assert sum(shares(1001, [3, 50, 0, 7])) == 1001


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_schema_travels_in_each_vendors_own_words(
    vendor: str, open_: Callable[..., ApiClient]
) -> None:
    form = json_schema(
        "step", {"type": "object", "properties": {"action": {"type": "string", "enum": ["a", "b"]}}}
    )

    def policy(request: Request, index: int) -> str:
        asked = schema_of(request)
        assert asked is not None
        return json.dumps({"action": asked[1]["properties"]["action"]["enum"][index % 2]})

    with ScriptedServer(policy, key=KEY) as server:
        url = server.url + ("/v1" if vendor == "openai" else "")
        (answers,) = ask(open_(vendor, base_url=url), replace(ASK, n=2, response_format=form))
    # Anthropic has no n, so there every draw is the first
    wanted = [{"action": "a"}, {"action": "a" if vendor == "anthropic" else "b"}]
    assert [json.loads(answer.text) for answer in answers] == wanted
    asked = schema_of(server.calls[0].request)
    assert asked is not None and asked[1] == form["json_schema"]["schema"]
