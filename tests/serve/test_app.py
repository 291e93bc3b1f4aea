"""Around the routes: keys, health, metrics, a new artifact under load, a graceful end."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest

from pgv_jax.errors import PgvError
from pgv_jax.guide.guide import Guide
from pgv_jax.serve.options import Settings
from tests.guide.toy import WordCritic
from tests.serve.servers import Upstream, completion, message, ours, running

PATH = "/v1/chat/completions"
ASKED = {
    "model": "m",
    "messages": [{"role": "user", "content": "Go."}],
    "pgv": {"candidates": 2},
}


def two(body: dict) -> dict:
    return completion(message("a 0.1"), message("b 0.2"))


def test_health_readiness_models_and_metrics(upstream, server):
    upstream.script = lambda body: {"object": "list", "data": [{"id": "scripted"}]}
    assert server.client.get("/health").json() == {"status": "ok"}
    assert server.client.get("/ready").json() == {"status": "ready", "critic": "words"}
    assert server.client.get("/v1/models").content == upstream.sent[0]
    upstream.script = two
    before = server.metric("pgv_candidates_total"), server.metric("pgv_value_count")
    server.post(PATH, ASKED)
    assert server.metric("pgv_candidates_total") == before[0] + 2
    assert server.metric("pgv_value_count") == before[1] + 1
    page = server.client.get("/metrics").text
    assert f'pgv_requests_total{{route="{PATH}",status="200"}}' in page
    assert 'pgv_stage_seconds_count{stage="upstream"}' in page
    assert "pgv_texts_total 2.0" in page


def test_a_key_is_wanted_elsewhere_than_on_loopback():
    with pytest.raises(PgvError, match="give it a key with --key-env"):
        Settings("toy", host="0.0.0.0")
    assert Settings("toy", host="0.0.0.0", key="k").key == "k"
    with pytest.raises(PgvError, match="is no address"):
        Settings("toy", "api.example.com")


def test_the_servers_key_and_the_clients_own_go_their_ways(upstream):
    upstream.script = two
    with running(upstream.app()) as address:
        with ours(address, key="ours") as server:
            refused = server.post(PATH, ASKED, headers={"authorization": "Bearer ours"})
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
            headers = {"authorization": "Bearer theirs", "x-pgv-key": "ours"}
            assert server.post(PATH, ASKED, headers=headers).status_code == 200
            assert upstream.seen[-1][1]["authorization"] == "Bearer theirs"
            assert "x-pgv-key" not in upstream.seen[-1][1]
            rank = {"query": "q", "documents": ["a"]}
            own = {"authorization": "Bearer ours"}
            assert server.post("/v1/rerank", rank, headers=own).status_code == 200
            assert server.post("/v1/rerank", rank).status_code == 401
        with ours(address, key="ours", upstream_key="theirs") as server:
            own = {"authorization": "Bearer ours"}
            assert server.post(PATH, ASKED, headers=own).status_code == 200
            assert upstream.seen[-1][1]["authorization"] == "Bearer theirs"


def test_a_page_cannot_reach_the_server_by_a_name_of_its_own(server):
    answer = server.client.get("/health", headers={"host": "evil.example.com"})
    assert answer.status_code == 400


def test_a_new_artifact_is_taken_under_load_and_a_broken_one_is_not(upstream):
    upstream.script = two

    class Backwards(WordCritic):
        name = "backwards"

        def members(self, task, observation, thoughts, goals):
            return 1 - super().members(task, observation, thoughts, goals)

    def broken() -> Guide:
        raise PgvError("half written")

    with running(upstream.app()) as address, ours(address) as server:
        stop = threading.Event()

        def ask() -> list[str]:
            said = []
            while not stop.is_set():
                answer = server.post(PATH, ASKED)
                assert answer.status_code == 200
                said.append(answer.json()["choices"][0]["message"]["content"])
            return said

        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(ask) for _ in range(2)]
            assert asyncio.run(server.serving.reload(lambda: Guide(Backwards())))
            assert not asyncio.run(server.serving.reload(broken))
            stop.set()
            for said in answers:
                # The old critic up to some request, the new one from then on.
                assert said.result() == sorted(said.result(), reverse=True)
        assert server.client.get("/ready").json()["critic"] == "backwards"
        assert server.post(PATH, ASKED).json()["choices"][0]["message"]["content"] == "a 0.1"
        assert server.metric('pgv_reloads_total{result="failed"}') == 1


def test_a_stopping_server_ends_what_is_under_way():
    upstream = Upstream()
    asked, release = threading.Event(), threading.Event()

    def slow(body):
        asked.set()
        release.wait(20)
        return two(body)

    upstream.script = slow
    with running(upstream.app()) as address, ThreadPoolExecutor(1) as pool:
        with ours(address) as server:
            url = f"{server.address}{PATH}"
            answer = pool.submit(httpx.post, url, json=ASKED, timeout=30)
            asked.wait(20)
            threading.Timer(0.2, release.set).start()
            # Leaving the block asks the server to stop while the request is under way.
        assert answer.result().json()["choices"][0]["message"]["content"] == "b 0.2"
