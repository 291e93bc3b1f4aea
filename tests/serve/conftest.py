from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.servers import Ours, Upstream, ours, running


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Upstream, Ours]]:
    upstream = Upstream()
    with running(upstream.app()) as address, ours(f"{address}/v1") as server:
        yield upstream, server


@pytest.fixture
def upstream(pair: tuple[Upstream, Ours]) -> Upstream:
    found = pair[0]
    found.seen.clear()
    found.sent.clear()
    return found


@pytest.fixture
def server(pair: tuple[Upstream, Ours]) -> Ours:
    found = pair[1]
    found.critic.reset()
    found.serving.proxy._proposer.knows_n = True
    return found
