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

TEMPERATURE, MAX_TOKENS = 0.7, 200
"""How a voice is asked unless told otherwise."""

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


class ClientVoice:
    """A voice that asks a client, on an event loop of its own; made by ``voice_of``."""

    def __init__(self, client: Completes, make_request: Callable[..., Any], **options: Any):
        self._client, self._make_request, self._options = client, make_request, options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def __call__(self, messages: Sequence[Message], seed: int) -> str:
        """Answer; many threads may ask at once."""
        request = self._make_request(messages=messages, seed=seed, **self._options)
        completions = self.run(self._client.complete(request))
        return str(completions[0].text)

    def run(self, work: Awaitable[Any]) -> Any:
        """Do ``work`` on the voice's loop and wait for it."""

        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._running()).result()

    def close(self) -> None:
        """End the loop; close the client before, by ``run``."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
                self._thread.start()
        return self._loop


def voice_of(
    client: Completes,
    make_request: Callable[..., Any],
    *,
    temperature: float = TEMPERATURE,
    max_tokens: int = MAX_TOKENS,
) -> ClientVoice:
    """A voice that asks ``client``; ``make_request`` is the class of its requests.

    ``voice_of(client, pgv_jax.llm.client.Request)``. Raises what the client raises.
    """
    return ClientVoice(client, make_request, temperature=temperature, max_tokens=max_tokens)


def plain(text: str, limit: int = 600) -> str:
    """One line of printable ASCII, cut at a word after ``limit`` characters."""
    words = " ".join(text.translate(_PLAIN).encode("ascii", "ignore").decode().split())
    words = "".join(letter for letter in words if letter.isprintable())
    if len(words) <= limit:
        return words
    return words[:limit].rsplit(" ", 1)[0]


class Sheet:
    """A prompt file: a system part and, below a line ``---``, a user part; ``$name`` is a value.

    ``folder`` is a folder of the user's that comes before the shipped ``tasks/TASK/data``.
    """

    def __init__(self, task: str, name: str, folder: Path | str | None = None):
        own = None if folder is None else Path(folder) / f"{name}.txt"
        if own is not None and own.exists():
            self.text, self.source = own.read_text("utf-8"), str(own)
        else:
            shipped = files(f"pgv_jax.tasks.{task}").joinpath(f"data/{name}.txt")
            self.text, self.source = shipped.read_text("utf-8"), f"{task}/data/{name}.txt"

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
