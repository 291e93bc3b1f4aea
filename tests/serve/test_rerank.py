"""``/v1/rerank`` and ``/v1/score``: the fields of Cohere, Jina and vLLM."""

from __future__ import annotations

import cohere
import pytest

ASKED = {"model": "m", "query": "You are in the hall.", "documents": ["a 0.2", "b 0.9", "c 0.4"]}


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_documents_are_ranked_by_value(server, path):
    answer = server.post(path, {**ASKED, "top_n": 2}).json()
    assert [(r["index"], r["relevance_score"]) for r in answer["results"]] == [(1, 0.9), (2, 0.4)]
    assert (answer["model"], "document" in answer["results"][0]) == ("m", False)
    assert server.critic.asked[-1][:3] == ("", ASKED["query"], ASKED["documents"])


@pytest.mark.parametrize("version", [cohere.Client, cohere.ClientV2])
def test_coheres_client_ranks(server, version):
    with version(api_key="k", base_url=server.address) as client:
        found = client.rerank(**ASKED, top_n=2)
    assert [(r.index, r.relevance_score) for r in found.results] == [(1, 0.9), (2, 0.4)]


def test_a_request_as_jina_documents_it(server):
    """Jina has no client of its own; this is the body and the answer of its documentation."""
    body = {"model": "jina-reranker-v2-base-multilingual", "return_documents": True, **ASKED}
    answer = server.post("/v1/rerank", body, headers={"authorization": "Bearer jina_k"}).json()
    assert {"model", "usage", "results"} <= set(answer)
    assert answer["usage"]["total_tokens"] == 0
    assert answer["results"][0] == {
        "index": 1,
        "relevance_score": 0.9,
        "document": {"text": "b 0.9"},
    }


def test_documents_come_back_on_request_and_may_be_objects(server):
    documents = [{"text": "a 0.2"}, "b 0.9"]
    asked = {"query": "q", "documents": documents, "return_documents": True, "task": "T"}
    answer = server.post("/v1/rerank", {**asked, "goal": "You are home."}).json()
    assert [r["document"] for r in answer["results"]] == [{"text": "b 0.9"}, {"text": "a 0.2"}]
    assert server.critic.asked[-1] == ("T", "q", ["a 0.2", "b 0.9"], ["You are home."])


def test_goals_are_weighed_and_messages_take_the_querys_place(server):
    asked = {
        "messages": [{"role": "user", "content": "Go."}],
        "documents": ["a 0.2", "b 0.9"],
        "goals": ["g", "h"],
        "weights": [1, -2],
    }
    answer = server.post("/v1/rerank", asked).json()
    assert [r["relevance_score"] for r in answer["results"]] == pytest.approx([-0.2, -0.9])


def test_scores_of_one_with_many_and_pair_by_pair(server):
    one = server.post("/v1/score", {"text_1": "seen", "text_2": ["a 0.2", "b 0.9"]}).json()
    assert [row["score"] for row in one["data"]] == [0.2, 0.9]
    each = {"text_1": ["x", "y"], "text_2": ["a 0.3", "b 0.4"]}
    assert [row["score"] for row in server.post("/v1/score", each).json()["data"]] == [0.3, 0.4]
    assert [asked[1] for asked in server.critic.asked[-2:]] == ["x", "y"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"documents": []}, "'documents' must be a list of texts."),
        ({"documents": [3]}, "'documents[0]' must be a text"),
        ({"query": None}, "'query' must be a text"),
        ({"top_n": 0}, "'top_n' must be a whole number"),
        ({"goals": "g"}, "'goal' must be a sentence"),
        ({"goals": ["g"], "weights": [1, 2]}, "2 weights for 1 goals"),
        ({"task": 3}, "'task' must be a text"),
        ({"documents": ["a"] * 1001}, "at most 1000"),
    ],
)
def test_a_wrong_request_is_one_sentence(server, change, why):
    answer = server.post("/v1/rerank", {**ASKED, **change})
    assert answer.status_code == 400
    assert why in answer.json()["message"]
