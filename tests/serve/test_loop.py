"""The loop: served decisions and their outcomes, a dataset, a new artifact, the running server."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from pgv_jax.data.importers.pipeline import Plan, run_import
from pgv_jax.guide.guide import Guide
from pgv_jax.workflows.training import fit, prepare
from tests.learner import chain
from tests.serve.servers import Upstream, completion, message, ours, running

PATH = "/v1/chat/completions"


@pytest.mark.slow
def test_served_decisions_become_a_critic_that_serves(tmp_path):
    upstream, log = Upstream(), tmp_path / "served"
    upstream.script = lambda body: completion(message("I walk. 0.4"), message("I run. 0.6"))
    with running(upstream.app()) as address, ours(address, log=log) as server:
        for number in range(8):
            messages = [{"role": "user", "content": f"Reach house {number}."}]
            for _ in range(3):
                wishes = {"candidates": 2, "session": f"s{number}"}
                body = {"model": "m", "messages": messages, "pgv": wishes}
                said = server.post(PATH, body).json()["choices"][0]["message"]
                messages += [said, {"role": "user", "content": f"You see house {number}."}]
            outcome = {"session_id": f"s{number}", "success": number % 2 == 0}
            assert server.post("/v1/outcomes", outcome).status_code == 200

        report = run_import(Plan((log,), tmp_path / "data"))
        assert report.summary.episodes == 8
        overrides = ("data.encoder=hash:16", "train.steps=20")
        settings = chain.config(f"data.dataset={tmp_path / 'data'}", *overrides)
        artifact = fit(settings, prepare(settings, tmp_path / "tables"), tmp_path / "work")
        shutil.copytree(artifact, tmp_path / "artifact")

        assert asyncio.run(server.serving.reload(lambda: Guide.load(tmp_path / "artifact")))
        body = {"model": "m", "messages": messages, "pgv": {"candidates": 2, "details": True}}
        body["pgv"]["deadline"] = 60  # the new critic compiles at its first choice
        answer = server.post(PATH, body).json()
        assert answer["pgv"]["fallback"] is None
        values = [value for (value,) in answer["pgv"]["values"]]
        assert answer["choices"][0]["message"]["content"] == (
            "I run. 0.6" if values[1] > values[0] else "I walk. 0.4"
        )
        assert str(tmp_path / "artifact") == server.client.get("/ready").json()["critic"]
