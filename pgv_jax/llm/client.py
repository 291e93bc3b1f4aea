"""What a model is to the rest of the program: a client that completes chat requests.

An API model, a cache around one and a scripted policy are all reached through ``Client``, so
nothing above this seam knows which of them it talks to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pgv_jax.errors import PgvError
from pgv_jax.texts.unicode import clean

Message = Mapping[str, Any]
"""One chat message in the OpenAI wire form: ``{"role": ..., "content": ...}``, with ``tool_calls``
or ``tool_call_id`` where tools are called."""


@dataclass(frozen=True, slots=True)
class Request:
    """One chat completion that is asked for; ``n`` independent samples of it.

    The samples carry the indices ``first .. first + n - 1``: a cache that holds samples 0 and 1
    of four asks for the other two with ``first=2``, and a seed moves along with the index.
    ``response_format`` is OpenAI's, ``json_object`` or ``json_schema``; each vendor's client
    says it in the vendor's own words. ``tools`` are what the model may call, one call an answer:
    ``{"name": ..., "description": ..., "parameters": JSON schema}``.
    """

    messages: Sequence[Message]
    n: int = 1
    temperature: float = 1.0
    max_tokens: int = 512
    seed: int | None = None
    stop: tuple[str, ...] = ()
    response_format: Mapping[str, Any] | None = None
    first: int = 0
    tools: tuple[Mapping[str, Any], ...] = ()


def json_schema(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A ``response_format`` that holds the answer to a JSON schema."""
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "strict": True, "schema": dict(schema)},
    }


def object_schema(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """``json_schema`` of an object that has these properties, all of them and no others."""
    return json_schema(
        name,
        {
            "type": "object",
            "properties": dict(properties),
            "required": list(properties),
            "additionalProperties": False,
        },
    )


def schema_of(request: Request) -> tuple[str, Mapping[str, Any]] | None:
    """The name and the JSON schema that the answer is held to, if it is."""
    wanted = request.response_format or {}
    if wanted.get("type") != "json_schema":
        return None
    return wanted["json_schema"]["name"], wanted["json_schema"]["schema"]


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample: its text and what it cost. ``seconds`` is the latency that the caller waited.

    A cached sample repeats what it cost when it was paid, with ``cached`` set: records of a
    resumed run equal those of an uninterrupted one, and today's spend leaves it out. Lone
    surrogates in the text become U+FFFD: nothing that is written or sent on can hold them.

    ``message`` is there where tools are called: the answer in the OpenAI wire form, for a later
    request's messages. Under ``raw`` it keeps what another vendor sent, which goes back as it came.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0
    seconds: float = 0.0
    cached: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    message: Message | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))


class ClientError(PgvError):
    """A model that did not answer, in one sentence; ``kind`` says which sort of failure it was.

    Kinds that end a run (``stops_run``): key, model, host, quota, budget, request.
    Kinds of one request: context, content_filter, refusal, empty, tool_calls, exhausted (retries).
    ``completions`` holds the samples, by index, that did arrive and were paid.
    """

    def __init__(
        self, kind: str, sentence: str, completions: Mapping[int, Completion] | None = None
    ):
        super().__init__(sentence)
        self.kind = kind
        self.completions: dict[int, Completion] = dict(completions or {})

    @property
    def stops_run(self) -> bool:
        """Whether the next request would fail in the same way."""
        return self.kind in {"key", "model", "host", "quota", "budget", "request"}


class Client(Protocol):
    """Completes chat requests."""

    model: str

    async def complete(self, request: Request) -> list[Completion]:
        """Return ``request.n`` completions, in the order of their sample index."""
        ...


class ScriptedClient:
    """A model whose answers are computed: ``policy(request, index) -> text``.

    Deterministic, free and offline; the quickstart and the tests stand on it.
    """

    def __init__(self, policy: Callable[[Request, int], str], model: str = "scripted"):
        self.model = model
        self._policy = policy

    async def complete(self, request: Request) -> list[Completion]:
        """Answer each of the ``n`` samples by the policy."""
        return [Completion(text=self._policy(request, request.first + i)) for i in range(request.n)]
