import asyncio
import json
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.llm.cache import CachedClient, ResponseCache, cache_key, cache_keys
from pgv_jax.llm.client import ClientError, Completion, Request, ScriptedClient

ASK = Request([{"role": "user", "content": "What next?"}], n=2, seed=3, stop=("\n",))
WHO = {"provider": "openai", "base_url": "http://host/v1", "model": "m"}


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


class Counting:
    """A client that keeps the requests that reached it and can fail at given indices."""

    model = "counting"

    def __init__(self, fail_at: frozenset[int] = frozenset(), batched: bool = True):
        self.requests: list[Request] = []
        self.fail_at, self.batched = fail_at, batched

    async def complete(self, request: Request) -> list[Completion]:
        self.requests.append(request)
        await asyncio.sleep(0)
        indices = range(request.first, request.first + request.n)
        good = {i: Completion(f"sample {i}", 2, 3, 0.5, 0.1) for i in indices}
        bad = self.fail_at & set(indices)
        if bad:
            arrived = {i: c for i, c in good.items() if i not in bad}
            raise ClientError("refusal", "It refused.", arrived)
        return list(good.values())


@pytest.mark.parametrize(
    "other",
    [
        replace(ASK, messages=[{"role": "user", "content": "What next? "}]),
        replace(ASK, messages=[{"role": "system", "content": "What next?"}]),
        replace(ASK, temperature=0.5),
        replace(ASK, max_tokens=511),
        replace(ASK, seed=None),
        replace(ASK, seed=4),
        replace(ASK, stop=()),
        replace(ASK, response_format={"type": "json_object"}),
    ],
)
def test_all_that_affects_the_output_is_in_the_key(other: Request) -> None:
    assert cache_key(WHO, other, 0) != cache_key(WHO, ASK, 0)


def test_the_index_and_the_client_are_in_the_key_and_n_is_not() -> None:
    assert cache_key(WHO, ASK, 1) != cache_key(WHO, ASK, 0)
    assert cache_key({**WHO, "base_url": "http://other/v1"}, ASK, 0) != cache_key(WHO, ASK, 0)
    assert cache_key(WHO, replace(ASK, n=8, first=1), 1) == cache_key(WHO, ASK, 1)


def test_keys_stay_what_they_were_so_that_older_caches_are_read() -> None:
    ask = Request([{"role": "user", "content": 'Où, "index":0?'}], seed=5, stop=("x",))
    key = "1d5cb28776051262e57bbbb62e7dd8be6e1f677181627d491dba393a0522c59e"
    assert cache_key({"provider": "openai", "extra": {"b": 1}}, ask, 2) == key
    assert cache_keys(WHO, ask, [0, 3]) == [cache_key(WHO, ask, 0), cache_key(WHO, ask, 3)]


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), min_size=2))
def test_the_order_of_keys_and_tuples_do_not_matter(extra: dict[str, Any]) -> None:
    turned = dict(reversed(list(extra.items())))
    ordered = replace(ASK, messages=[{"role": "user", "content": "x", "more": extra}])
    other = replace(ASK, messages=({"more": turned, "content": "x", "role": "user"},))
    assert cache_key(WHO, ordered, 0) == cache_key(WHO, other, 0)


def test_a_request_that_is_not_json_is_told() -> None:
    with pytest.raises(PgvError, match="must be JSON"):
        cache_key(WHO, replace(ASK, temperature=float("nan")), 0)
    with pytest.raises(PgvError, match="must be JSON"):
        cache_key(WHO, replace(ASK, messages=[{"role": "user", "content": {1, 2}}]), 0)


def test_a_second_run_is_served_from_disk_at_the_same_recorded_cost(tmp_path: Path) -> None:
    cache, client = ResponseCache(tmp_path), Counting()
    first = run(CachedClient(client, cache).complete(ASK))
    cache.close()
    again = ResponseCache(tmp_path)
    second = run(CachedClient(client, again).complete(ASK))
    assert len(client.requests) == 1 and len(again) == 2
    assert second == [replace(completion, cached=True) for completion in first]


def test_only_the_missing_samples_are_asked_for(tmp_path: Path) -> None:
    cache, client = ResponseCache(tmp_path), Counting()
    cached = CachedClient(client, cache)
    run(cached.complete(replace(ASK, n=2)))
    texts = [c.text for c in run(cached.complete(replace(ASK, n=4)))]
    assert texts == ["sample 0", "sample 1", "sample 2", "sample 3"]
    assert [(r.first, r.n) for r in client.requests] == [(0, 2), (2, 2)]
    run(cached.complete(replace(ASK, first=6, n=1)))
    run(cached.complete(replace(ASK, n=8)))
    assert [(r.first, r.n) for r in client.requests[2:]] == [(6, 1), (4, 2), (7, 1)]
    assert (cached.hits, cached.misses) == (7, 8)
    cache.close()


def test_a_client_without_n_is_asked_sample_by_sample(tmp_path: Path) -> None:
    cache, client = ResponseCache(tmp_path), Counting(batched=False)
    run(CachedClient(client, cache).complete(replace(ASK, n=3)))
    assert [(r.first, r.n) for r in client.requests] == [(0, 1), (1, 1), (2, 1)]
    cache.close()


@pytest.mark.parametrize("batched", [True, False])
def test_failures_are_never_cached_and_samples_beside_them_are(
    tmp_path: Path, batched: bool
) -> None:
    cache, client = ResponseCache(tmp_path), Counting(frozenset({1}), batched)
    cached = CachedClient(client, cache)
    with pytest.raises(ClientError, match="refused"):
        run(cached.complete(replace(ASK, n=3)))
    assert len(cache) == 2
    client.fail_at = frozenset()
    assert [c.text for c in run(cached.complete(replace(ASK, n=3)))][1] == "sample 1"
    assert (client.requests[-1].first, client.requests[-1].n) == (1, 1)
    assert b"refused" not in b"".join(p.read_bytes() for p in tmp_path.iterdir())
    cache.close()


def test_the_same_request_in_flight_is_paid_once(tmp_path: Path) -> None:
    cache, client = ResponseCache(tmp_path), Counting()
    cached = CachedClient(client, cache)

    async def main() -> None:
        await asyncio.gather(*(cached.complete(ASK) for _ in range(10)))

    run(main())
    assert len(client.requests) == 1
    cache.close()


def test_the_index_reaches_a_scripted_policy(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path)
    cached = CachedClient(ScriptedClient(lambda request, index: f"{index}"), cache)
    run(cached.complete(replace(ASK, n=1)))
    assert [c.text for c in run(cached.complete(replace(ASK, n=3)))] == ["0", "1", "2"]
    cache.close()


def test_damaged_lines_are_asked_again(tmp_path: Path) -> None:
    cache, client = ResponseCache(tmp_path), Counting()
    run(CachedClient(client, cache).complete(ASK))
    cache.close()
    (path,) = tmp_path.iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    no_text = {"key": json.loads(lines[0])["key"], "value": {"nothing": 1}}
    path.write_bytes(json.dumps(no_text).encode() + b"\n" + lines[1][:-9])
    for _ in range(2):
        cache = ResponseCache(tmp_path)
        texts = [c.text for c in run(CachedClient(client, cache).complete(ASK))]
        assert texts == ["sample 0", "sample 1"]
        assert cache.dropped == 1
        cache.close()
    assert len(client.requests) == 2
