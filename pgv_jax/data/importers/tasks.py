"""Which texts and ids of a log name tasks: not a benchmark's name, nor a number of two files."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pgv_jax.data.importers.identity import HASHED, TASK_KEYS, hashed_task
from pgv_jax.data.near import NEAR, similarity
from pgv_jax.types import Episode

NAME = re.compile(r"[\w.:/@-]+\Z")
"""A text without a space names something; it does not ask for it."""
ENOUGH = 5
"""Different first messages under one text, before a text of several words is called no task."""
KEPT = 2000
SHOWN = 3


def first_words(episode: Episode) -> str:
    """What the agent was told first."""
    return episode.steps[0].observation if episode.steps else ""


def _stated(episode: Episode) -> bool:
    """True where the task is what the record says under a key for tasks."""
    record = episode.metadata.get("record")
    return isinstance(record, Mapping) and any(record.get(k) == episode.task for k in TASK_KEYS)


@dataclass
class Tasks:
    """Collects what a log calls a task, and decides."""

    _firsts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _within: dict[str, bool] = field(default_factory=lambda: defaultdict(bool))
    _episodes: Counter[str] = field(default_factory=Counter)
    _texts: dict[str, dict[int, dict[str, str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    _ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _all: int = 0

    def add(self, source: int, episode: Episode) -> None:
        """Take note of an episode of a source."""
        first, task = first_words(episode)[:KEPT], episode.task[:KEPT]
        self._all += 1
        if _stated(episode):
            self._episodes[task] += 1
            self._firsts[task].add(hashed_task(first))
            self._within[task] |= task.lower() in first.lower() and not NAME.match(task)
        if not episode.task_id.startswith(HASHED):
            text = first if NAME.match(task) else task
            self._texts[episode.task_id][source].setdefault(hashed_task(text), text)
            self._ids[episode.task_id].add(hashed_task(first))

    def decided(self, labels: Sequence[str], units: Sequence[int]) -> NamedTasks:
        """Return which texts and ids are no tasks; ``labels`` names the sources.

        ``units`` maps sources to what an id is unique in: themselves, or folders of them.
        """
        texts = frozenset(task for task in self._episodes if self._is_no_task(task))
        common = frozenset(i for i in self._ids if self._is_no_id(i))
        apart: dict[tuple[str, str], str] = {}
        shared = []
        pooled = {task_id: _pooled(found, units) for task_id, found in self._texts.items()}
        for task_id, sources in pooled.items():
            if len(sources) > 1 and task_id not in common:
                groups = _alike(sources)
                if len(groups) < 2:
                    continue
                shared.append(task_id)
                for group in groups:
                    label = labels[min(source for source, _ in group)]
                    apart.update({(task_id, key): f"{label}:{task_id}" for _, key in group})
        varying = any(len(texts) > 1 for found in pooled.values() for texts in found.values())
        if varying:  # one task is told in several ways here, so texts say nothing of identity
            apart.clear()
        return NamedTasks(texts, common, apart, tuple(shared))

    def _is_no_task(self, task: str) -> bool:
        told = len(self._firsts[task])
        if NAME.match(task):
            return told > 1
        alone = self._episodes[task] == self._all
        return alone and told >= ENOUGH and told == self._all and not self._within[task]

    def _is_no_id(self, task_id: str) -> bool:
        """One word over everything, whatever was asked: the name of a benchmark."""
        word = NAME.match(task_id) and not any(c.isdigit() for c in task_id)
        return bool(word) and len(self._ids) == 1 and len(self._ids[task_id]) >= ENOUGH


def _pooled(
    sources: Mapping[int, Mapping[str, str]], units: Sequence[int]
) -> dict[int, dict[str, str]]:
    out: dict[int, dict[str, str]] = {}
    for source, texts in sources.items():
        out.setdefault(units[source], {}).update(texts)
    return out


def _alike(sources: Mapping[int, Mapping[str, str]]) -> list[list[tuple[int, str]]]:
    """Group the (source, text) pairs of one id by texts that are the same, or nearly."""
    groups: list[tuple[str, list[tuple[int, str]]]] = []
    for source, texts in sources.items():
        for key, text in texts.items():
            for told, group in groups:
                if told == text or similarity(told, text) >= NEAR:
                    group.append((source, key))
                    break
            else:
                groups.append((text, [(source, key)]))
    return [group for _, group in groups]


@dataclass(frozen=True)
class NamedTasks:
    """What was decided: texts and ids that are no tasks, and new ids of (id, text) pairs."""

    texts: frozenset[str] = frozenset()
    common: frozenset[str] = frozenset()
    apart: Mapping[tuple[str, str], str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()

    def renamed(self, episode: Episode) -> Episode:
        """Return the episode under the task that it really is."""
        first = first_words(episode)
        named = NAME.match(episode.task[:KEPT])
        text = first if named else episode.task
        new = self.apart.get((episode.task_id, hashed_task(text[:KEPT])))
        if new is not None:
            episode = replace(episode, task_id=new)
        if episode.task[:KEPT] in self.texts and _stated(episode):
            own = episode.task_id.startswith(HASHED)
            episode = replace(
                episode, task=first, task_id=hashed_task(first) if own else episode.task_id
            )
        if episode.task_id in self.common:
            episode = replace(episode, task_id=hashed_task(first))
        return episode

    def sentences(self) -> list[str]:
        """Say what was decided."""
        out = [
            f"'{text[:60]}' is no task but a name: it stands over different first messages, which "
            "are the tasks now. Another field: --task-field."
            for text in sorted(self.texts)[:SHOWN]
        ]
        out += [
            f"The task id '{name[:60]}' stands over everything and is no id; equal first messages "
            "are equal tasks now. Another field: --task-id-field."
            for name in sorted(self.common)
        ]
        if self.shared:
            ids = ", ".join(self.shared[:SHOWN]) + (", ..." if len(self.shared) > SHOWN else "")
            if self.apart:
                new = ", ".join(dict.fromkeys(self.apart.values()))
                out.append(
                    f"{len(self.shared):,} task ids ({ids}) have different texts in different "
                    f"files and are kept apart: {new[:120]}. If they are the same tasks, say "
                    "--task-id-field."
                )
            else:
                out.append(
                    f"{len(self.shared):,} task ids ({ids}) have different texts in different "
                    "files. As texts vary within a file too, they are taken for the same tasks."
                )
        return out
