"""Prompts as files that a user can edit; each is known by the hash of its text in every record.

A file holds a system part and, below a line ``---``, a user part; ``$name`` stands for a value.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Generic, TypeVar

from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Client, ClientError, Completion, Message, Request

T = TypeVar("T")

AGAIN = "That could not be read. Answer again, in the form that was asked for and nothing else."


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file's name, text and where it was read."""

    name: str
    text: str
    source: str

    @classmethod
    def load(cls, name: str, folder: str | os.PathLike[str] | None = None) -> Prompt:
        """The file ``name.txt`` of the user's ``folder`` where it has one, else the shipped one."""
        if folder is not None:
            if not Path(folder).is_dir():
                raise PgvError(f"The folder of prompts {folder} does not exist.")
            path = Path(folder) / f"{name}.txt"
            if path.exists():
                return cls(name, _read(path), str(path))
        shipped = files("pgv_jax.agents").joinpath(f"prompts/{name}.txt")
        return cls(name, shipped.read_text("utf-8"), f"prompts/{name}.txt")

    @property
    def version(self) -> str:
        """First 12 hex digits of the sha256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def messages(self, **values: object) -> list[Message]:
        """The chat messages with ``values`` filled in; names that are unknown are an error."""
        mapping = {name: str(value) for name, value in values.items()}
        # split the template, not what was filled in: a note may hold such a line
        head, rule, tail = self.text.partition("\n---\n")
        parts = [("system", head), ("user", tail)] if rule else [("user", head)]
        try:
            return [
                {"role": role, "content": Template(part).substitute(mapping).strip()}
                for role, part in parts
            ]
        except KeyError as error:
            known = ", ".join(f"${name}" for name in sorted(values))
            raise PgvError(
                f"{self.source} asks for ${error.args[0]}, but there are only {known}; write $$ "
                "for a dollar sign."
            ) from None
        except ValueError:
            raise PgvError(
                f"{self.source} has a $ that starts no name; write $$ for a dollar sign."
            ) from None


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came of a question: the parsed value, or None after two malformed answers."""

    value: T | None
    completions: tuple[Completion, ...]
    malformed: int


async def ask(
    client: Client,
    messages: list[Message],
    parse: Callable[[str], T | None],
    *,
    seed: int,
    temperature: float,
    max_tokens: int,
    form: Mapping[str, Any] | None = None,
) -> Answer[T]:
    """Ask once, and once more where ``parse`` cannot read the answer.

    ``form``: the ``response_format`` that answers are held to.
    """
    completions: list[Completion] = []
    for attempt in range(2):
        request = Request(
            messages=messages,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed + attempt,
            response_format=form,
        )
        completions.extend(await client.complete(request))
        text = completions[-1].text
        value = parse(text)
        if value is not None:
            return Answer(value, tuple(completions), attempt)
        messages = [
            *messages,
            {"role": "assistant", "content": text or "(nothing)"},
            {"role": "user", "content": AGAIN},
        ]
    return Answer(None, tuple(completions), 2)


async def ask_unless_refused(
    client: Client, messages: list[Message], parse: Callable[[str], T | None], **options: Any
) -> Answer[T]:
    """As ``ask``, but a refusal of this one request is an answer that could not be read.

    Raises ClientError for what would hit every request (key, budget, host).
    """
    try:
        return await ask(client, messages, parse, **options)
    except ClientError as failure:
        if failure.stops_run or failure.kind == "exhausted":
            raise
        return Answer(None, tuple(failure.completions.values()), 1)


def object_in(text: str) -> Mapping[str, Any] | None:
    """The JSON object that a text holds, with whatever words around it; None for none."""
    try:
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PgvError(f"The prompt {path} cannot be read: {error}.") from None
