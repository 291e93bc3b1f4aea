"""How a server is set up, and what one request may ask of it under the key ``pgv``."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.serve.refusals import RefusalError
from pgv_jax.texts.templates import SUCCESS

STRATEGIES = ("best-of-n", "refine", "shadow", "off")
MOST = 128
"""Candidates that one request may ask for."""
MAY_BE_NULL = ("weights", "session", "task", "max_distance", "max_disagreement")


@dataclass(frozen=True)
class Ask:
    """One request's own wishes; a server's defaults are an ``Ask``, too.

    ``candidates`` are asked of the upstream. ``deadline``: seconds that the critic has, else the
    first candidate is passed on. ``patience``: seconds that further candidates have once the first
    is there. ``details`` puts a ``pgv`` object with the values into the answer.
    ``max_distance`` and ``max_disagreement``: above them the critic's choice is not taken.
    ``session`` names the conversation in the log, ``task`` replaces its task.
    """

    strategy: str = "best-of-n"
    candidates: int = 4
    goals: tuple[str, ...] = (SUCCESS,)
    weights: tuple[float, ...] | None = None
    deadline: float = 2.0
    patience: float = 10.0
    details: bool = False
    max_distance: float | None = 1.5
    max_disagreement: float | None = None
    session: str | None = None
    task: str | None = None

    def with_own(self, own: Any) -> Ask:
        """These wishes with a request's own; RefusalError (400) for what is none."""
        if own is None:
            return self
        if not isinstance(own, Mapping):
            raise RefusalError(400, "'pgv' must be an object, such as {\"candidates\": 8}.")
        known = {field.name for field in dataclasses.fields(self)}
        for key in own:
            if key not in known:
                raise RefusalError(
                    400, f"'pgv.{key}' is unknown; known: {', '.join(sorted(known))}."
                )
        wishes = {key: _read(key, value) for key, value in own.items()}
        if "goals" in wishes:
            wishes.setdefault("weights", None)
        asked = dataclasses.replace(self, **wishes)
        if asked.weights is not None and len(asked.weights) != len(asked.goals):
            raise RefusalError(
                400,
                f"'pgv' has {len(asked.weights)} weights for {len(asked.goals)} goals; give one "
                "a goal.",
            )
        return asked


def _read(key: str, value: Any) -> Any:
    """One wish, checked."""
    if value is None and key in MAY_BE_NULL:
        return None
    fits, wanted = CHECKS[key]
    if not fits(value):
        raise RefusalError(400, f"'pgv.{key}' must be {wanted}.")
    return tuple(value) if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_weights(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(w, int | float) and not isinstance(w, bool) for w in value
    )


AMOUNT = (_is_number, "a number of 0 or more")
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "strategy": (lambda value: value in STRATEGIES, f"one of {', '.join(STRATEGIES)}"),
    "candidates": (
        lambda value: isinstance(value, int) and _is_number(value) and 1 <= value <= MOST,
        f"a whole number from 1 to {MOST}",
    ),
    "goals": (
        lambda value: isinstance(value, list) and bool(value) and all(map(_is_text, value)),
        "a list of sentences",
    ),
    "weights": (_are_weights, "a list of numbers, one a goal"),
    **dict.fromkeys(("deadline", "patience", "max_distance", "max_disagreement"), AMOUNT),
    "details": (lambda value: isinstance(value, bool), "true or false"),
    **dict.fromkeys(("session", "task"), (_is_text, "a text")),
}
"""What each wish must be."""


@dataclass(frozen=True)
class Settings:
    """A server. ``log`` is the folder of decisions, None for no log."""

    artifact: str
    upstream: str | None = None
    host: str = "127.0.0.1"
    port: int = 8770
    key: str | None = None
    upstream_key: str | None = None
    ask: Ask = Ask()
    log: Path | None = None
    redact: tuple[str, ...] = ()
    max_body: int = 32 * 2**20
    timeout: float = 600.0
    store: str | None = None

    def __post_init__(self) -> None:
        if self.upstream and not self.upstream.startswith(("http://", "https://")):
            raise PgvError(
                f"--upstream {self.upstream} is no address; write http:// or https:// before it."
            )
        if not is_loopback(self.host) and not self.key:
            raise PgvError(
                f"The server would answer everybody who reaches {self.host}; give it a key with "
                "--key-env NAME, or bind 127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
