"""The rows of a step table as episodes."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pgv_jax.data.importers import identity
from pgv_jax.data.importers.base import UNFIT, Options, Where
from pgv_jax.data.importers.conversation.pieces import json_text
from pgv_jax.data.importers.formats.tables.column_names import TEXTS, words_in
from pgv_jax.data.importers.outcomes.outcome import (
    CUT_KEYS,
    END_KEYS,
    PLACES,
    RESULT_KEYS,
    SCORE_KEYS,
    SUCCESS_KEYS,
    number,
    outcome_of,
    tristate,
    was_cut,
    with_outcome,
)
from pgv_jax.data.storage.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode, Step

LAST: tuple[str, ...] = (*SUCCESS_KEYS, *RESULT_KEYS, *CUT_KEYS, *END_KEYS)
LAST += ("total_reward", "final_reward", "final_score", "episode_reward", "episode_return")
LAST += ("return", "cumulative_reward")
"""Columns whose last row tells the end."""
TIMES = ("timestamp", "time stamp", "ts", "datetime", "date time", "created at")
GAPS = "the numbers in '{}' have gaps: steps are missing from the log"
GOES_ON = (
    "'{}' is true before the last step of an episode; if another one begins there, which column "
    "tells them apart? --column episode=NAME"
)
VARIES = (
    "'{0}' varies within an episode and is not read as its outcome; if a step earned it, say "
    "--column reward={0}, else join its last value with --rewards"
)


class Row(NamedTuple):
    """A row and its line."""

    line: int
    cells: Mapping[str, Any]


def names_in(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of rows, in the order in which they come up."""
    return list(dict.fromkeys(str(name) for row in rows for name in row))


def _is_empty(value: Any) -> bool:
    nan = isinstance(value, float) and math.isnan(value)
    return value is None or nan or (isinstance(value, str) and not value.strip())


@dataclass
class Table:
    """The columns of a table, and how its rows become episodes."""

    names: Mapping[str, str]
    options: Options
    repeated: bool = False

    def cell(self, row: Row, ours: str) -> Any:
        """A row's value under one of our names, None where it is empty."""
        value = row.cells.get(self.names.get(ours, ""))
        return None if _is_empty(value) else value

    def text(self, row: Row, ours: str) -> str:
        """A row's value as text; objects are their JSON text."""
        value = self.cell(row, ours)
        if value is None:
            return ""
        if isinstance(value, str):
            return text_field(value, f"line {row.line}: {self.names[ours]}").strip()
        return json_text(value)

    def place(self, row: Row, name: str) -> float | None:
        """Where a row stands by a column of numbers or of times; text that is neither is an error.

        A time is a date or ISO text; it is read as seconds.
        """
        value = row.cells.get(name)
        if _is_empty(value):
            return None
        found = number(value)
        if found is None and isinstance(value, str):
            with contextlib.suppress(ValueError):
                time = datetime.datetime.fromisoformat(value.strip())
                found = time.replace(tzinfo=time.tzinfo or datetime.UTC).timestamp()
        if found is None:
            raise FieldError(f"line {row.line}: {name}", "is not a number and no time")
        return found

    def number(self, row: Row, ours: str) -> float | None:
        """A row's value as a number; text that is none is an error."""
        value = row.cells.get(self.names.get(ours, ""))
        if value is None or value == "":
            return None
        found = float(value) if isinstance(value, bool) else number(value)
        if found is None:
            raise FieldError(f"line {row.line}: {self.names[ours]}", "is not a number")
        return found

    def grouped(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        """Rows by episode: by its column, else a new one where the steps' numbers restart.

        Raises FieldError where neither column is there.
        """
        out: dict[str, list[Row]] = {}
        if "episode" in self.names:
            for row in rows:
                value = self.cell(row, "episode")
                key = identity.identifier(value)
                if key is None:
                    why = "is empty" if value is None else f"is {kind_of(value)}, not an id"
                    raise FieldError(f"line {row.line}: {self.names['episode']}", why)
                out.setdefault(key, []).append(row)
            self._check_tasks(out, ("task_id",) if "step" in self.names else ("task_id", "task"))
            return out
        if "step" not in self.names:
            have = ", ".join(names_in([row.cells for row in rows[:20]]))
            raise FieldError(
                "episode", f"there is no column for it (there are {have[:300]}); say --column "
                "episode=NAME"
            )  # fmt: skip
        before, count = math.inf, -1
        for row in rows:
            at = self.place(row, self.names["step"])
            if at is None:
                raise FieldError(f"line {row.line}: {self.names['step']}", "is empty")
            count += at <= before
            before = at
            out.setdefault(str(count), []).append(row)
        self._check_tasks(out, ("task_id", "task"))
        return out

    def _check_tasks(self, groups: Mapping[str, Sequence[Row]], columns: Sequence[str]) -> None:
        """Two tasks in an episode tell that it is two episodes.

        A text may vary (a query a step) where both the episodes and the steps are numbered.
        """
        for key, rows in groups.items():
            for ours in columns:
                told = list(dict.fromkeys(t for row in rows if (t := self.text(row, ours))))
                if len(told) > 1:
                    raise FieldError(
                        f"line {rows[0].line}: {self.names.get('episode', 'episode')}",
                        f"'{key}' has two values of '{self.names[ours]}', '{told[0][:40]}' and "
                        f"'{told[1][:40]}'; which column tells its episodes apart? --column "
                        "episode=NAME (and --column step=NAME, the steps' numbers)",
                    )

    def has_repeated_rewards(self, groups: Sequence[Sequence[Row]]) -> bool:
        """True where every row of an episode has the same reward, and episodes differ in it."""
        told: list[set[float | None]] = []
        for rows in groups:
            try:
                told.append({self.number(row, "reward") for row in rows})
            except UNFIT:
                return False
        long = any(len(rows) > 1 for rows in groups)
        values = {value for found in told for value in found}
        same = all(len(found) == 1 for found in told) and None not in values
        return long and same and values != {0.0} and (len(values) > 1 or values == {1.0})

    def ordered(self, rows: Sequence[Row]) -> list[Row]:
        """Rows in the order of their numbers; one that stands twice is an error."""
        if "step" not in self.names:
            return self.by_time(rows)
        places = [self.place(row, self.names["step"]) for row in rows]
        if any(place is None for place in places):
            empty = rows[places.index(None)]
            raise FieldError(f"line {empty.line}: {self.names['step']}", "is empty")
        known = [place for place in places if place is not None]
        if len(set(known)) < len(known):
            twice = next(p for i, p in enumerate(known) if p in known[:i])
            raise FieldError(
                self.names["step"], f"is {twice:g} twice in one episode; which column tells its "
                "episodes apart? --column episode=NAME"
            )  # fmt: skip
        apart = {after - before for before, after in itertools.pairwise(sorted(known))}
        if 1 in apart and max(apart) > 1:
            self.options.tally.notes[GAPS.format(self.names["step"])] += 1
        return [rows[i] for i in sorted(range(len(rows)), key=known.__getitem__)]

    def by_time(self, rows: Sequence[Row]) -> list[Row]:
        """Rows in the order of a column of times if all have one, else as they stand."""
        name = next((n for n in map(str, rows[0].cells) if words_in(n) in TIMES), None)
        try:
            places = [self.place(row, name) if name else None for row in rows]
        except FieldError:
            places = [None]
        known = [place for place in places if place is not None]
        if name is None or len(known) < len(rows) or known == sorted(known):
            return list(rows)
        self.options.tally.notes[f"rows are sorted by '{name}'"] += 1
        return [rows[i] for i in sorted(range(len(rows)), key=known.__getitem__)]

    def episode(self, key: str, members: Sequence[Row], where: Where) -> Episode:
        """One episode's rows as the episode."""
        rows = self.ordered(members)
        final = self.text(rows[-1], "result")
        if not self.text(rows[-1], "action") and not self.text(rows[-1], "thought"):
            final = self.text(rows[-1], "observation") or final  # the state after the last action
            rows, last = rows[:-1], rows[-1]
        else:
            last = rows[-1]
        if not rows:
            raise FieldError("action", "is empty in all rows")
        record = self.facts(rows, last)
        asked = self.text(rows[0], "task") or self.options.task_text or ""
        steps = self.steps(rows, asked, record)
        late = None if last is rows[-1] or self.repeated else self.number(last, "reward")
        if late is not None:  # what the last action earned stands with the state after it
            steps[-1] = replace(steps[-1], reward=(steps[-1].reward or 0.0) + late)
        asked = asked or steps[0].observation
        about = {**record, "task": asked} if asked else record
        if "task_id" in self.names and (value := self.cell(rows[0], "task_id")) is not None:
            about = {**about, "task_id": value}
        task_id, task = identity.name_task(about, asked, self.options)
        name = key if "episode" in self.names else where.episode_id
        if any(tristate(self.cell(row, "done")) for row in rows[:-1]):
            self.options.tally.notes[GOES_ON.format(self.names["done"])] += 1
        metadata = {"format": "steps", "record": record}
        episode = Episode(name, task_id, task, tuple(steps), final, metadata=metadata)
        return self.ended(episode, record, last)

    def facts(self, rows: Sequence[Row], last: Row) -> dict[str, Any]:
        """What is the same in all rows, and what the last row says of the end."""
        own = {self.names[ours] for ours in (*TEXTS, "step", "reward") if ours in self.names}
        if self.repeated:
            own -= {self.names["reward"]}
        said = (self.names.get("success"), self.names.get("truncated"))
        out: dict[str, Any] = {}
        for name in names_in([row.cells for row in (*rows, last)]):
            values = [row.cells.get(name) for row in (*rows, last)]
            ends = name.lower() in LAST or name in said
            told = [value for value in values if not _is_empty(value)]
            if name not in own and told and (ends or all(value == told[0] for value in told)):
                out[name] = told[-1]
        return out

    def steps(self, rows: Sequence[Row], task: str, record: Mapping[str, Any]) -> list[Step]:
        """A step a row."""
        out: list[Step] = []
        seen = task
        for row in rows:
            action, thought = self.text(row, "action"), self.text(row, "thought")
            if not action and not thought:
                raise FieldError(
                    f"line {row.line}: {self.names.get('action', 'action')}", "is empty"
                )
            if "observation" in self.names:
                seen = self.text(row, "observation")
            own = bool(thought) and thought != action
            metadata = {"thought_from": "reasoning" if own else "action"}
            used = {self.names[o] for o in (*TEXTS, "step", "reward", "episode") if o in self.names}
            for name, value in row.cells.items():
                if name not in used and name not in record and not _is_empty(value):
                    metadata[str(name)] = value
            reward = None if self.repeated else self.number(row, "reward")
            out.append(Step(seen, thought or action, action, reward=reward, metadata=metadata))
            seen = self.text(row, "result")
        return out

    def ended(self, episode: Episode, record: Mapping[str, Any], last: Row) -> Episode:
        """The episode with its outcome: what the rows say, else the sum of their rewards."""
        outcome = outcome_of(record)
        places = {k: v for k, v in last.cells.items() if k in PLACES and isinstance(v, Mapping)}
        outcome = replace(outcome, cut=outcome.cut or was_cut(places))
        if outcome.success is None and outcome.reward is None:  # what the last row's info says
            told = outcome_of(places)
            outcome = outcome if told.success is None else replace(told, reward=None)
        stated = tristate(self.cell(last, "success"))
        if stated is not None:
            outcome = replace(outcome, success=stated)
        if self.repeated:
            outcome = replace(outcome, reward=self.number(last, "reward"))
        earned = [step.reward for step in episode.steps if step.reward is not None]
        if outcome.reward is None and earned:
            outcome = replace(outcome, reward=math.fsum(earned))
        if tristate(self.cell(last, "truncated")) is True:
            outcome = replace(outcome, cut=True)
        episode = with_outcome(episode, outcome)
        done = tristate(self.cell(last, "done"))
        if episode.success is None and outcome.reward is None:
            varying = set(SCORE_KEYS) & set(map(str, last.cells)) - set(map(str, record))
            for name in sorted(varying - set(self.names.values())):
                self.options.tally.notes[VARIES.format(name)] += 1
        return episode if done is None else replace(episode, is_terminal=done and not outcome.cut)
