"""Rewards as a whole log has them: their range and spellings, and whether they tell success."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pgv_jax.data.importers.outcomes.outcome import contradiction, outcome_of, tristate
from pgv_jax.data.importers.outcomes.rule import reward_of
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode

SHOWN = 6
WORD = 40
HINT = re.compile(
    r"reward|score|success|label|grade|pass|correct|win|won|outcome|verdict|solved|eval|rating",
    re.I,
)
"""In the name of a field that may say how an episode ended."""
WORDS = {True: "success", False: "failure", None: "unknown"}


@dataclass
class Scale:
    """Collects what the episodes of a log say of their ends."""

    keys: Counter[str] = field(default_factory=Counter)
    against: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Keys that contradict each other, the one that was read first."""
    unclear: dict[str, Counter[str]] = field(default_factory=dict)
    rewards: Counter[float] = field(default_factory=Counter)
    beyond: int = 0
    """Episodes whose reward lies outside of [0, 1] and that state no success."""
    known: Counter[bool | None] = field(default_factory=Counter)
    hints: dict[str, Counter[str]] = field(default_factory=dict)
    """Values of fields that may speak of an outcome, in records without one."""

    def add(self, episode: Episode) -> None:
        """Take note of an episode."""
        self.known[episode.success] += 1
        record = episode.metadata.get("record")
        if isinstance(record, Mapping):
            self._note(record)
        reward = reward_of(episode)
        if reward is None:
            return
        self.rewards[reward] += 1
        self.beyond += episode.success is None and not 0 <= reward <= 1

    def _note(self, record: Mapping[str, object]) -> None:
        try:
            found = outcome_of(record)
        except FieldError:
            return
        if found.success is None and found.reward is None:
            if found.key:
                self.unclear.setdefault(found.key, Counter())[found.word] += 1
            else:
                self._hint(record)
        else:
            self.keys[found.key] += 1
            if other := contradiction(record, found):
                self.against[found.key, other] += 1

    def _hint(self, record: Mapping[str, object]) -> None:
        for key, value in record.items():
            if not str(key).isidentifier() or value in (None, "", [], {}):
                continue
            words = self.hints.setdefault(str(key), Counter())
            if HINT.search(str(key)) or (isinstance(value, str) and len(words) <= SHOWN):
                words[str(value)[:WORD]] += 1

    def _hinted(self) -> list[tuple[str, Counter[str]]]:
        """Fields whose names speak of an outcome, or one of whose few words is that of one."""
        return [
            (key, words)
            for key, words in self.hints.items()
            if words and (HINT.search(key) or (len(words) <= SHOWN and any(map(_spelled, words))))
        ][:SHOWN]

    @property
    def signed(self) -> bool:
        """True for rewards of +1 and -1 alone: success and failure."""
        return set(self.rewards) == {1.0, -1.0} or set(self.rewards) == {-1.0}

    def question(self) -> PgvError | None:
        """The question that must be answered before anything is written, or None."""
        if self.beyond and not self.signed:
            low, high = min(self.rewards), max(self.rewards)
            return PgvError(
                f"The rewards lie in {low:g} .. {high:g} ({counted(self.rewards)}) and not in "
                f"[0, 1], so it is not plain what success is. Say it, for example --success "
                f"'reward >= {high:g}', or leave all outcomes unknown with --success null"
            )
        classes = [key for key in (True, False) if self.known[key]]
        if self.unclear and len(classes) == 1:
            key, words = next(iter(self.unclear.items()))
            return PgvError(
                f"'{key}' says {counted(words)}, which is not understood, beside outcomes that all "
                f"are {WORDS[classes[0]]}. Say what success is. {_decide(key, words)}, or leave "
                "all outcomes unknown with --success null"
            )
        return None

    def sentences(self) -> list[str]:
        """Say where the outcomes were read, and what was not understood."""
        out = []
        if self.keys:
            keys = ", ".join(f"'{key}' ({n:,})" for key, n in self.keys.most_common(SHOWN))
            seen = f"; rewards: {counted(self.rewards)}" if self.rewards else ""
            out.append(f"Outcomes are read from {keys}{seen}.")
        for (taken, other), n in self.against.most_common(SHOWN):
            out.append(
                f"'{taken}' and '{other}' contradict each other in {n:,} records; '{taken}' is "
                f"taken. Otherwise: --success metadata.record.{other}."
            )
        if self.signed and self.rewards:
            out.append("A reward of 1 is success and one of -1 is failure.")
        elif self.rewards and max(self.rewards) < 1 and self.known[False] and not self.known[True]:
            out.append(
                f"No reward reaches 1 (the largest is {max(self.rewards):g}), so every known "
                f"outcome is a failure. If that is wrong: --success 'reward >= "
                f"{max(self.rewards):g}'."
            )
        for key, words in list(self.unclear.items())[:SHOWN]:
            out.append(f"'{key}' says {counted(words)}: not understood. {_decide(key, words)}.")
        if self.hints and self.known[None]:
            for key, words in self._hinted():
                out.append(
                    f"'{key}' ({counted(words)}) may say how episodes ended. {_decide(key, words)}."
                )
        return out


def _decide(key: str, words: Counter[str]) -> str:
    """How a user says what the values of a field mean."""
    if any(word.startswith(("[", "{")) for word in words):
        return "Join what it means with --rewards"
    return f"Decide with --success \"metadata.record.{key} == '{likely(words)}'\""


def likely(words: Counter[str]) -> str:
    """The value that success most likely has: one that says so, else one that does not deny it."""
    said = [word for word, _ in words.most_common()]
    good = [word for word in said if tristate(word)]
    return [*good, *(word for word in said if tristate(word) is None), *said][0]


def _spelled(word: str) -> bool:
    """Whether a word alone, such as "failed", tells how something ended."""
    return len(word) > 1 and tristate(word) is not None


def counted(values: Counter[float] | Counter[str]) -> str:
    """Values with their counts, the most frequent first: ``10: 2, 0: 2``."""
    shown = ", ".join(
        f"{value:g}: {n:,}" if isinstance(value, float) else f"'{value}': {n:,}"
        for value, n in values.most_common(SHOWN)
    )
    more = len(values) - SHOWN
    return shown + (f", {more:,} other values" if more > 0 else "")
