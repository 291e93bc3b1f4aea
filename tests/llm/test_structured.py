"""A server that knows no JSON schema, and failures that are none of a schema's."""

import asyncio

import pytest

from pgv_jax.llm.client import ClientError, Completion, Request, json_schema
from pgv_jax.llm.structured import StructuredClient

HELD = Request(
    [{"role": "user", "content": "What next?"}],
    n=2,
    response_format=json_schema("step", {"type": "object"}),
)


class Refusing:
    """A model whose server knows no schemas (or nothing at all)."""

    model = "old"

    def __init__(self, everything: str = "") -> None:
        self.asked: list[Request] = []
        self.everything = everything

    async def complete(self, request: Request) -> list[Completion]:
        self.asked.append(request)
        if request.response_format is not None or self.everything:
            raise ClientError(self.everything or "request", "The server answered 400.")
        return [Completion("text")] * request.n


def test_a_server_without_schemas_is_asked_for_text_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inner = Refusing()
    client = StructuredClient(inner)
    for _ in range(2):
        assert [c.text for c in asyncio.run(client.complete(HELD))] == ["text", "text"]
    assert [request.response_format is None for request in inner.asked] == [False, True, True]
    assert [r.getMessage() for r in caplog.records] == [
        "'old' refuses a JSON schema for its answers (The server answered 400.) It is asked for "
        "text from now on; set answers=text to ask so from the start."
    ]


@pytest.mark.parametrize(("kind", "calls"), [("request", 2), ("key", 1), ("context", 1)])
def test_another_failure_is_not_taken_for_a_refusal_of_schemas(kind: str, calls: int) -> None:
    inner = Refusing(kind)
    client = StructuredClient(inner)
    with pytest.raises(ClientError, match="400"):
        asyncio.run(client.complete(HELD))
    assert len(inner.asked) == calls and not client.refused
