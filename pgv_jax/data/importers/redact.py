"""Secrets are replaced before anything is written, and counted by rule."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.types import Candidate, Episode, Step


def luhn(digits: str) -> bool:
    """True if a card number's check digit is right (ISO/IEC 7812-1, Luhn's sum mod 10)."""
    total = 0
    for i, digit in enumerate(int(c) for c in reversed(digits) if c.isdigit()):
        doubled = digit * 2 if i % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _is_card(text: str) -> bool:
    digits = [c for c in text if c.isdigit()]
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and len(set(digits)) > 1 and luhn(text)


Rule = tuple[re.Pattern[str], Callable[[str], bool] | None]

RULES: dict[str, Rule] = {
    "key": (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
            r"|\b(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9]{16,}"
            r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[\w-]{16,}"
            r"|\bhf_[A-Za-z0-9]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{30,}"
            r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
            r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
            re.S,
        ),
        None,
    ),
    "password": (
        re.compile(
            r"(?i:(?<=password[=:])|(?<=password[=:] )|(?<=api_key[=:])|(?<=api_key[=:] )"
            r"|(?<=bearer )|(?<=token=))(?!\[REDACTED)[^\s\"',;]{6,}"
        ),
        None,
    ),
    "email": (
        re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),
        None,
    ),
    "card": (re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])"), _is_card),
}
COMMON = "common"


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise PgvError(f"--redact '{pattern}' is not a regular expression: {error}.") from None
    if compiled.match(""):
        raise PgvError(f"--redact '{pattern}' matches empty text; it would match everywhere.")
    return compiled


class Redactor:
    """Replaces what rules match by ``[REDACTED:NAME]`` in every text of an episode.

    A rule is ``common`` (all built-in ones), one of their names, or ``NAME=REGEX``.
    """

    def __init__(self, rules: Sequence[str]):
        self.rules: dict[str, Rule] = {}
        self.counts: Counter[str] = Counter()
        for rule in rules:
            name, equals, pattern = rule.partition("=")
            if rule == COMMON:
                self.rules.update(RULES)
            elif rule in RULES:
                self.rules[rule] = RULES[rule]
            elif equals and name.isidentifier() and pattern:
                self.rules[name] = (_compile(pattern), None)
            else:
                raise PgvError(
                    f"--redact '{rule}' is no rule; use {COMMON}, {', '.join(RULES)} or NAME=REGEX."
                )

    def text(self, text: str) -> str:
        """Return a text without what the rules match."""
        for name, (pattern, check) in self.rules.items():

            def put(match: re.Match[str], name: str = name, check: Any = check) -> str:
                if check is not None and not check(match.group()):
                    return match.group()
                self.counts[name] += 1
                return f"[REDACTED:{name}]"

            text = pattern.sub(put, text)
        return text

    def value(self, value: Any) -> Any:
        """Redact every text inside a JSON value, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        return value

    def episode(self, episode: Episode) -> Episode:
        """Redact everything that would be written of an episode, its ids too."""
        if not self.rules:
            return episode
        return replace(
            episode,
            episode_id=self.text(episode.episode_id),
            task_id=self.text(episode.task_id),
            task=self.text(episode.task),
            steps=tuple(self._step(step) for step in episode.steps),
            final_observation=self.text(episode.final_observation),
            metadata=self.value(episode.metadata),
        )

    def _step(self, step: Step) -> Step:
        return Step(
            self.text(step.observation),
            self.text(step.thought),
            self.text(step.action),
            step.reward,
            tuple(
                Candidate(
                    self.text(c.thought), self.text(c.action), self.value(c.scores), c.correct
                )
                for c in step.candidates
            ),
            self.value(step.metadata),
        )
