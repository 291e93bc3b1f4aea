"""``/v1/rerank`` (the fields of Cohere's v2 and of Jina) and ``/v1/score`` (vLLM's).

The query is what the agent sees and the documents are thoughts or actions. As additions: ``task``,
``goal`` or ``goals`` with ``weights``, and ``messages``, which take the place of the query.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pgv_jax.errors import PgvError
from pgv_jax.guide.choice import Choice
from pgv_jax.guide.guide import Guide
from pgv_jax.serve.apis.bodies import read_json
from pgv_jax.serve.refusals import RefusalError

MOST = 1000
"""Documents of one request."""


async def rerank(guide: Guide, request: Request, most: int) -> Response:
    """Rank documents by the critic's utility, best first."""
    _, body = await read_json(request, most)
    documents = body.get("documents")
    if not isinstance(documents, list) or not documents:
        raise RefusalError(400, "'documents' must be a list of texts.")
    texts = [_text(document, f"documents[{i}]") for i, document in enumerate(documents)]
    top = body.get("top_n")
    if top is not None and (not isinstance(top, int) or isinstance(top, bool) or top < 1):
        raise RefusalError(400, "'top_n' must be a whole number above 0.")
    choice = await _chosen(guide, body, body.get("query"), texts)
    results: list[dict[str, Any]] = []
    for i in choice.order[:top]:
        result: dict[str, Any] = {"index": i, "relevance_score": float(choice.utility[i])}
        if body.get("return_documents"):
            result["document"] = {"text": texts[i]}
        results.append(result)
    return JSONResponse(
        {
            "id": str(uuid.uuid4()),
            "model": body.get("model") or guide.critic.name,
            "object": "list",
            "results": results,
            "usage": {"total_tokens": 0},
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 0}},
            "pgv": choice.to_json(),
        }
    )


async def score(guide: Guide, request: Request, most: int) -> Response:
    """Score one text (what is seen) with each of others, or two lists pair by pair."""
    _, body = await read_json(request, most)
    seen, thoughts = (
        body.get("text_1", body.get("queries")),
        body.get("text_2", body.get("documents")),
    )
    if isinstance(seen, list) and len(seen) == 1:
        seen = seen[0]
    thoughts = [thoughts] if isinstance(thoughts, str) else thoughts
    if not isinstance(thoughts, list) or not thoughts:
        raise RefusalError(400, "'text_2' must be a text or a list of texts.")
    texts = [_text(thought, f"text_2[{i}]") for i, thought in enumerate(thoughts)]
    if isinstance(seen, list):
        if len(seen) != len(texts):
            raise RefusalError(
                400, f"'text_1' has {len(seen)} texts and 'text_2' {len(texts)}; give one each."
            )
        pairs = zip(seen, texts, strict=True)
        choices = [await _chosen(guide, body, one, [other]) for one, other in pairs]
        scores = [float(choice.utility[0]) for choice in choices]
    else:
        scores = [float(u) for u in (await _chosen(guide, body, seen, texts)).utility]
    data = [{"index": i, "object": "score", "score": s} for i, s in enumerate(scores)]
    return JSONResponse(
        {
            "id": f"score-{uuid.uuid4().hex}",
            "object": "list",
            "model": body.get("model") or guide.critic.name,
            "data": data,
            "usage": {"prompt_tokens": 0, "total_tokens": 0},
        }
    )


async def _chosen(
    guide: Guide, body: Mapping[str, Any], query: Any, texts: Sequence[str]
) -> Choice:
    if len(texts) > MOST:
        raise RefusalError(400, f"There are {len(texts)} documents; at most {MOST} are ranked.")
    goals = [body["goal"]] if body.get("goal") is not None else body.get("goals")
    task, messages = body.get("task"), body.get("messages")
    if goals is not None and (
        not isinstance(goals, list) or not all(isinstance(goal, str) for goal in goals)
    ):
        raise RefusalError(400, "'goal' must be a sentence, 'goals' a list of sentences.")
    if task is not None and not isinstance(task, str):
        raise RefusalError(400, "'task' must be a text.")
    asked = {"goals": goals, "weights": body.get("weights"), "task": task}
    try:
        if messages is not None:
            return await guide.achoose(messages, texts, **asked)
        if not isinstance(query, str):
            raise RefusalError(400, "'query' must be a text: what the agent sees.")
        return await guide.achoose(observation=query, thoughts=texts, **asked)
    except (PgvError, TypeError, ValueError) as error:
        raise RefusalError(400, str(error)) from None


def _text(document: Any, where: str) -> str:
    if isinstance(document, Mapping):
        document = document.get("text")
    if not isinstance(document, str):
        raise RefusalError(400, f"'{where}' must be a text, or an object with one under 'text'.")
    return document
