"""Outcomes as records state them: by which key, in which spelling. Never by truthiness."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.types import Episode

SUCCESS_KEYS: tuple[str, ...] = ("success", "is_success", "correct", "is_correct", "resolved")
SUCCESS_KEYS += ("solved", "passed", "is_resolved", "is_solved", "is_passed", "won", "win")
SUCCESS_KEYS += ("is_win", "task_success", "successful", "is_successful", "succeeded")
SUCCESS_KEYS += ("goal_reached", "goal_achieved")
SCORE_KEYS: tuple[str, ...] = ("score", "reward", "final_reward", "total_reward", "return")
SCORE_KEYS += ("final_score", "episode_reward", "episode_return", "accuracy", "acc")
SCORE_KEYS += ("cumulative_reward",)
SCORE_KEYS += ("exact_match", "success_rate", "pass_rate", "outcome_reward")
RESULT_KEYS = ("result", "outcome", "verdict")
PLACES: tuple[str, ...] = ("extra", "info", "metadata", "result", "results", "outcome")
PLACES += ("evaluation", "eval", "report", "eval_result", "evaluation_result", "test_result")
PLACES += ("scores", "metrics", "reward_info")
"""Objects in which an outcome may stand, two deep; what stands outside of them comes first."""

MOST_KEYS = ("max_score", "max_reward", "max_points", "total_points", "out_of")
"""What the score beside it would be at most."""
TESTS_KEYS = ("total", "total_tests", "num_tests", "n_tests", "tests_total")
WRONG_KEYS = ("failed", "errors", "incorrect", "wrong", "unsolved", "unresolved", "lost")
"""Beside a whole number under ``passed``, ``correct``, ...: both are counts."""

CUT_KEYS: tuple[str, ...] = ("halted", "truncated", "timeout", "timed_out", "max_steps_reached")
CUT_KEYS += ("is_truncated", "max_turns_reached", "hit_limit", "cut_off", "step_limit_reached")
CUT_KEYS += ("TimeLimit.truncated",)
"""A true value, or a word for a limit, says that the log was cut off, not that the task ended."""
END_KEYS: tuple[str, ...] = ("exit_status", "exit_reason", "exit_state", "finish_reason")
END_KEYS += ("stop_reason", "end_reason", "termination_reason", "termination", "terminated_by")
END_KEYS += (
    "early_stop",
    "early_stop_reason",
    "stop_condition",
    "done_reason",
    "finishReason",
    "stopReason",
)
CUT_WORDS = re.compile(
    r"max|limit|exceed|time.?out|timed.?out|truncat|length|context|budget|cost|interrupt|cancel"
    r"|abort|stuck|error|crash|exception|overflow|killed",
    re.I,
)
"""In an end's name: the run ran out of something, or broke."""
CUT_STATUS = re.compile(r"max|limit|exceed|time.?out|timed.?out|truncat", re.I)

YES: tuple[str, ...] = ("true", "yes", "y", "success", "succeeded", "successful", "pass")
YES += ("passed", "correct", "won", "win", "solved", "resolved", "t", "c", "\u2705", "\u2713")
NO: tuple[str, ...] = ("false", "no", "n", "failure", "failed", "fail", "unsuccessful")
NO += ("incorrect", "wrong", "lost", "lose", "loss", "unsolved", "unresolved", "not_resolved")
NO += ("not_solved", "f", "i", "\u274c", "\u2717")
DONE_KEYS = ("done", "terminated", "terminal", "is_terminal", "finished", "episode_done")
"""A false value says the same: the log stopped before the task did."""
FRACTION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*\Z")
PERCENT = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*%\s*\Z")


def tristate(value: Any) -> bool | None:
    """True, False or None (unknown) from the spellings that logs use; 1 and 0 count, 0.5 not."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return True if value == 1 else False if value == 0 else None
    if isinstance(value, str):
        word = re.sub(r"[\s-]+", "_", value.strip().lower().rstrip(".!"))
        return True if word in YES or word == "1" else False if word in NO or word == "0" else None
    return None


def number(value: Any) -> float | None:
    """A finite number from a number or numeric text, else None; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    percent = PERCENT.match(value) if isinstance(value, str) else None
    try:
        found = float(percent.group(1)) / 100 if percent else float(value)
    except (ValueError, OverflowError, ArithmeticError):
        return None
    return found if math.isfinite(found) else None


@dataclass(frozen=True)
class Outcome:
    """What a log says of the end. ``reward`` is the raw number, ``score`` it if in [0, 1].

    ``key`` names where it was read and ``word`` what stood there; a ``word`` without a success or
    a reward was not understood.
    """

    success: bool | None = None
    reward: float | None = None
    cut: bool = False
    key: str = field(default="", compare=False)
    word: str = field(default="", compare=False)

    @property
    def score(self) -> float | None:
        """The reward where it lies in [0, 1]."""
        return self.reward if self.reward is not None and 0 <= self.reward <= 1 else None

    @property
    def decided(self) -> bool | None:
        """The success that is stated, else score >= 1, else None."""
        if self.success is not None or self.score is None:
            return self.success
        return self.score >= 1


def outcome_of(record: Mapping[str, Any]) -> Outcome:
    """Read a record's outcome from the keys that logs use, outermost first.

    Raises FieldError for a number that is none (NaN).
    """
    found = Outcome()
    for prefix, place in _places(record):
        found = _read(place, prefix)
        if found.success is not None or found.reward is not None or found.word:
            break
    return replace(found, cut=was_cut(record))


def _places(
    record: Mapping[str, Any], prefix: str = "", depth: int = 2
) -> Iterator[tuple[str, Any]]:
    yield prefix, record
    for key in PLACES if depth else ():
        if isinstance(record.get(key), Mapping):
            yield from _places(record[key], f"{prefix}{key}.", depth - 1)


def _read(place: Mapping[str, Any], prefix: str) -> Outcome:
    success: bool | None = None
    reward: float | None = None
    said: tuple[str, str] = ("", "")
    for key in (*SUCCESS_KEYS, *SCORE_KEYS, *RESULT_KEYS):
        value = _only(place.get(key))
        if value is None or isinstance(value, Mapping) or value in ("", [], ()):
            continue
        if key in RESULT_KEYS and (success is not None or reward is not None):
            break
        if isinstance(value, list | tuple):
            said = said if said != ("", "") else (prefix + key, str(value)[:40])
            continue
        check_number(value, prefix + key)
        amount = share(value)
        most = _most(place, key, value, amount)
        scored = most is not None or key in SCORE_KEYS
        if amount is not None and most is not None:
            value = amount = amount / most
            key = f"{key} of {most:g}"
        truth = None if scored and amount is not None else tristate(value)
        amount = amount if truth is None else None
        if success is None and truth is not None:
            success, said = truth, (prefix + key, str(value))
        elif reward is None and amount is not None:
            reward = amount
            said = said if success is not None else (prefix + key, str(value))
        elif truth is None and amount is None and said == ("", ""):
            said = (prefix + key, str(value)[:40])
    return Outcome(success, reward, key=said[0], word=said[1])


def _only(value: Any) -> Any:
    """The only element of a list that has one, else the value."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _most(place: Mapping[str, Any], key: str, value: Any, amount: float | None) -> float | None:
    """What a score or a count of tests can be at most, where the object says so, if above 1."""
    if amount is None or isinstance(value, bool | str):
        return None
    if key in SCORE_KEYS:
        found = next((n for k in MOST_KEYS if (n := number(place.get(k))) is not None), None)
        return found if found is not None and found > 1 else None
    if key not in SUCCESS_KEYS or amount != int(amount):
        return None
    whole = next((n for k in TESTS_KEYS if (n := number(place.get(k))) is not None), None)
    if whole is None:
        whole = amount + math.fsum(n for k in WRONG_KEYS if (n := number(place.get(k))) is not None)
    return whole if whole > 1 and whole >= amount else None


def contradiction(record: Mapping[str, Any], found: Outcome) -> str:
    """The key under which a record says the opposite of ``found``, else ""."""
    if found.success is None:
        return ""
    for prefix, place in _places(record):
        for key in SUCCESS_KEYS:
            value = _only(place.get(key))
            counted = _most(place, key, value, share(value)) is not None
            if not counted and tristate(value) is (not found.success):
                return prefix + key
        for key in SCORE_KEYS:
            value = _only(place.get(key))
            counted = _most(place, key, value, share(value)) is not None
            if not counted and share(value) == (not found.success):
                return prefix + key
    return ""


def share(value: Any) -> float | None:
    """A number, or the share that a fraction is: ``8/10``."""
    share = FRACTION.match(value) if isinstance(value, str) else None
    if share and float(share.group(2)):
        return float(share.group(1)) / float(share.group(2))
    return number(value)


def check_number(value: Any, field: str) -> None:
    """Raise FieldError for NaN and infinity."""
    nan = isinstance(value, float) and not math.isfinite(value)
    nan = nan or (isinstance(value, Decimal) and not value.is_finite())
    if nan or (isinstance(value, str) and value.strip().lower() == "nan"):
        raise FieldError(field, "is not a number")


def was_cut(record: Mapping[str, Any]) -> bool:
    """True where a record says that the run was cut off, at its top or in its ``info``."""
    for _, place in _places(record):
        if any(tristate(place.get(key)) is True for key in CUT_KEYS):
            return True
        if any(isinstance(w := place.get(k), str) and CUT_WORDS.search(w) for k in CUT_KEYS):
            return True
        if any(tristate(place.get(key)) is False for key in DONE_KEYS):
            return True
        if any(isinstance(w := place.get(k), str) and CUT_WORDS.search(w) for k in END_KEYS):
            return True
    status = record.get("status")
    return isinstance(status, str) and bool(CUT_STATUS.search(status))


def with_outcome(episode: Episode, outcome: Outcome) -> Episode:
    """Return the episode with this outcome; the last step earns the reward if no step has one.

    It is terminal where the outcome is known and nothing says that the log was cut off.
    """
    steps = episode.steps
    if outcome.reward is not None and steps and all(step.reward is None for step in steps):
        steps = (*steps[:-1], replace(steps[-1], reward=outcome.reward))
    metadata = dict(episode.metadata)
    if outcome.reward is not None:
        metadata["reward"] = outcome.reward
    success = outcome.decided
    return replace(
        episode,
        steps=steps,
        success=success,
        score=outcome.score,
        is_terminal=(success is not None or outcome.reward is not None) and not outcome.cut,
        metadata=metadata,
    )
