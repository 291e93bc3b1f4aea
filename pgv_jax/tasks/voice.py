"""A model that takes part in a task: messages and a seed in, one text out.

Tasks lie below the clients of models, so they ask for no more than ``Voice``. ``voice_of`` makes
one of a client: its coroutine runs on an event loop of its own, in a thread, because ``Env.step``
is an ordinary function that may itself be called inside a running loop. Give it a client that
nobody else uses: a client belongs to one loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Protocol

from pgv_jax.errors import PgvError

Message = Mapping[str, Any]

Voice = Callable[[Sequence[Message], int], str]
"""(chat messages in OpenAI's form, seed) -> the answer's text."""

_PLAIN = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2013": "-",
        "\u2014": "-",
        "\u2026": "...",
        "\u00a0": " ",
    }
)


class Completes(Protocol):
    """What is needed of a client: ``await complete(request)`` gives completions with a text."""

    def complete(self, request: Any) -> Awaitable[Sequence[Any]]:
        """Answer a request."""
        ...


def voice_of(
    client: Completes,
    make_request: Callable[..., Any],
    *,
    temperature: float = 0.7,
    max_tokens: int = 200,
) -> Voice:
    """A voice that asks ``client``; ``make_request`` is the class of its requests.

    ``voice_of(client, pgv_jax.rollout.client.Request)``. Raises what the client raises.
    """
    loop: asyncio.AbstractEventLoop | None = None
    starting = threading.Lock()

    def running() -> asyncio.AbstractEventLoop:
        nonlocal loop
        with starting:
            if loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, daemon=True).start()
        return loop

    async def ask(request: Any) -> str:
        completions = await client.complete(request)
        return str(completions[0].text)

    def voice(messages: Sequence[Message], seed: int) -> str:
        request = make_request(
            messages=messages, temperature=temperature, max_tokens=max_tokens, seed=seed
        )
        return asyncio.run_coroutine_threadsafe(ask(request), running()).result()

    return voice


def plain(text: str, limit: int = 600) -> str:
    """One line of printable ASCII, cut at a word after ``limit`` characters."""
    words = " ".join(text.translate(_PLAIN).encode("ascii", "ignore").decode().split())
    words = "".join(letter for letter in words if letter.isprintable())
    if len(words) <= limit:
        return words
    return words[:limit].rsplit(" ", 1)[0]


class Sheet:
    """A prompt file: a system part and, below a line ``---``, a user part; ``$name`` is a value.

    ``folder`` is a folder of the user's that comes before the shipped ``tasks/data/TASK``.
    """

    def __init__(self, task: str, name: str, folder: Path | str | None = None):
        own = None if folder is None else Path(folder) / f"{name}.txt"
        if own is not None and own.exists():
            self.text, self.source = own.read_text("utf-8"), str(own)
        else:
            shipped = files("pgv_jax.tasks").joinpath(f"data/{task}/{name}.txt")
            self.text, self.source = shipped.read_text("utf-8"), f"data/{task}/{name}.txt"

    def messages(self, **values: object) -> list[Message]:
        """The chat messages with ``values`` filled in."""
        head, rule, tail = self.text.partition("\n---\n")
        parts = [("system", head), ("user", tail)] if rule else [("user", head)]
        try:
            return [
                {"role": role, "content": Template(part).substitute(values).strip()}
                for role, part in parts
            ]
        except (KeyError, ValueError) as error:
            raise PgvError(
                f"The prompt {self.source} cannot be filled in ({error}); it may use "
                f"{', '.join('$' + name for name in sorted(values))}, and $$ for a dollar sign."
            ) from None
