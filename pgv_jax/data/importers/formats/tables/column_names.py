"""Which column of a table holds what: as the user says, by known names, by near names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from pgv_jax.data.importers.identity import TASK_ID_KEYS, TASK_KEYS
from pgv_jax.data.importers.outcomes.outcome import CUT_KEYS, SUCCESS_KEYS
from pgv_jax.data.storage.jsonl import FieldError

ALIASES: dict[str, tuple[str, ...]] = {
    "episode": (
        *("episode", "episode id", "ep", "ep id", "eid", "episode idx", "episode index"),
        *("episode no", "episode number", "episode name", "trajectory id", "traj id", "traj"),
        *("trajectory", "rollout id", "rollout", "run id", "run", "session id", "session"),
        *("conversation id", "game id", "game", "trial id", "trial", "attempt id", "dialogue id"),
    ),
    "step": (
        *("step", "step id", "step idx", "step index", "step no", "step num", "step number"),
        *("t", "timestep", "time step", "turn", "turn id", "turn idx", "turn index", "turn no"),
        *("turn number", "index", "idx", "position", "order", "seq", "sequence"),
    ),
    "observation": (
        *("observation", "obs", "observation text", "state", "state text", "env observation"),
        *("current observation", "seen", "page", "screen", "input", "prompt"),
    ),
    "thought": (
        *("thought", "thoughts", "thought text", "reasoning", "rationale", "reason", "think"),
        *("thinking", "chain of thought", "cot", "plan"),
    ),
    "action": (
        *("action", "act", "action text", "agent action", "action taken", "command", "cmd"),
        *("move", "tool call", "decision", "response", "completion", "output"),
    ),
    "result": (
        *("next observation", "next obs", "next state", "observation next", "obs next", "result"),
        *("action result", "tool result", "tool output", "feedback", "env feedback"),
        *("env response", "environment response"),
    ),
    "reward": ("reward", "step reward", "r", "rew", "immediate reward", "reward value"),
    "task": (*TASK_KEYS, "task description", "task text", "objective", "user goal", "query"),
    "task_id": TASK_ID_KEYS,
    "success": SUCCESS_KEYS,
    "done": ("done", "terminal", "terminated", "is terminal", "is done", "is last", "finished"),
    "truncated": CUT_KEYS,
}
"""What logs call the columns, the surest names first."""
TEXTS = ("observation", "thought", "action", "result")
WHOLE = {"total", "final", "episode", "cumulative", "cum", "running", "sum", "mean", "average"}
WHOLE |= {"avg", "max", "min", "best", "return", "go", "expected", "predicted", "model", "type"}
"""Words of a column that tells more than one step's reward (``reward_to_go``), or no reward."""
CLOSE = 0.85
"""How alike a name is (difflib's ratio) that is taken for another one with a slip."""


def words_in(name: str) -> str:
    """A column's name as lower-case words: ``stepNumber`` and ``step_number`` are the same."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", apart.lower()))


def known_columns(have: Iterable[str]) -> dict[str, str]:
    """Map our names to the columns that are called so; each column is used once."""
    by_words: dict[str, str] = {}
    for name in have:
        by_words.setdefault(words_in(name), name)
    out: dict[str, str] = {}
    for ours, aliases in ALIASES.items():
        names = (by_words.get(words_in(alias)) for alias in aliases)
        found = next((name for name in names if name and name not in out.values()), None)
        if found is not None:
            out[ours] = found
    return out


def near_columns(have: Sequence[str], found: Mapping[str, str]) -> dict[str, str]:
    """Guess the columns of the main names that are missing, by a word in them or a slip.

    A guess is made only where one column fits.
    """
    out = dict(found)
    for ours in ("episode", "step", "action", "thought", "observation", "reward"):
        if ours in out:
            continue
        free = [name for name in have if name not in out.values()]
        if ours == "reward":
            free = [name for name in free if not WHOLE & set(words_in(name).split())]
        fits = [n for n in free if ours in words_in(n).split()]
        if not fits:
            words = {words_in(name).replace(" ", ""): name for name in free}
            close = difflib.get_close_matches(ours, words, n=2, cutoff=CLOSE)
            fits = [words[word] for word in close]
        if len(fits) == 1:
            out[ours] = fits[0]
    return out


def columns_of(have: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Map our names to a table's columns; what the user chose comes first.

    Raises FieldError for a chosen column that the table lacks.
    """
    mine = {ours: name for ours, name in chosen.items() if ours in ALIASES}
    for ours, name in mine.items():
        if name not in have:
            near = difflib.get_close_matches(name, have, n=1)
            hint = f", is it '{near[0]}'?" if near else ""
            raise FieldError(
                ours, f"there is no column '{name}'{hint} (there are {', '.join(have)[:300]})"
            )
    free = [name for name in have if name not in mine.values()]
    guessed = near_columns(free, {k: v for k, v in known_columns(free).items() if k not in mine})
    return {**{k: v for k, v in guessed.items() if k not in mine}, **mine}
