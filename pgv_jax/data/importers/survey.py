"""The first of an import's two passes: what only a log as a whole can tell.

The range of its rewards, which texts and ids are tasks, which calls are parts of one conversation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace

from pgv_jax.data.importers.call_logs import Calls, Folded, Place
from pgv_jax.data.importers.outcomes.outcome import Outcome, was_cut, with_outcome
from pgv_jax.data.importers.outcomes.scale import Scale
from pgv_jax.data.importers.source import Source
from pgv_jax.data.importers.tasks import NamedTasks, Tasks
from pgv_jax.types import Episode


@dataclass
class Findings:
    """What the first pass found; the second applies it episode by episode."""

    folded: Folded = field(default_factory=Folded)
    tasks: NamedTasks = field(default_factory=NamedTasks)
    signed: bool = False
    sentences: list[str] = field(default_factory=list)

    def applied(self, place: Place, episode: Episode) -> Episode | None:
        """Return the episode as the whole log shows it, or None if it is part of another one."""
        if place in self.folded.places or place in self.folded.shared:
            return None
        episode = self.tasks.renamed(self.folded.whole(place, episode))
        if place in self.folded.names:
            episode = replace(episode, episode_id=self.folded.names[place])
        known = self.folded.outcomes.get(place)
        if known is not None and (episode.success is None or place in self.folded.parts):
            episode = with_outcome(episode, Outcome(known[0], known[1]))
        if self.signed and episode.success is None and episode.metadata.get("reward") == -1:
            episode = decided(episode, False)
        return episode


def decided(episode: Episode, success: bool | None) -> Episode:
    """The episode with this success; a known one ended it unless its record says it was cut."""
    record = episode.metadata.get("record")
    cut = isinstance(record, dict) and was_cut(record)
    ended = episode.is_terminal or (success is not None and episode.success is None and not cut)
    return replace(episode, success=success, is_terminal=ended)


@dataclass
class Survey:
    """Collects the facts of one pass over a log's episodes, source by source."""

    sources: Sequence[Source]
    calls: Calls = field(default_factory=Calls)
    tasks: Tasks = field(default_factory=Tasks)
    scale: Scale = field(default_factory=Scale)
    _counts: Counter[int] = field(default_factory=Counter)

    def add(self, place: Place, episode: Episode) -> None:
        """Take note of an episode and of where it stands."""
        number = place[0]
        self._counts[number] += 1
        if self.sources[number].importer.logs_calls:
            self.calls.add(place, episode)
        self.tasks.add(number, episode)
        self.scale.add(episode)

    def findings(self, named: Container[str], outcome_named: bool) -> Findings:
        """Decide; ``named`` are our fields that the user did, ``outcome_named`` of the outcome.

        Raises PgvError where the log leaves open what success is.
        """
        question = None if outcome_named else self.scale.question()
        if question is not None:
            raise question
        folded = self.calls.folded("episode_id" in named)
        labels = [source.label for source in self.sources]
        tasks = NamedTasks() if "task" in named else self.tasks.decided(labels, self._units())
        sentences = [] if outcome_named else self.scale.sentences()
        total = sum(self._counts.values())
        if folded.places:
            sentences.append(
                f"{len(folded.places):,} of {total:,} records are calls within a conversation that "
                f"another record holds whole; they are folded into "
                f"{total - len(folded.places) - len(folded.shared):,} episodes."
            )
        if folded.shared:
            sentences.append(
                f"{len(folded.shared):,} of {total:,} records are calls that leave out the "
                "beginning of their conversation; they are joined to those that they go on from, "
                f"in {len(folded.parts):,} episodes."
            )
        if folded.doubtful:
            sentences.append(
                f"{folded.doubtful:,} records begin with the step that another one ends with. If "
                "these are calls that leave out the beginning of their conversation, give each its "
                "conversation's id (session_id), and they are joined."
            )
        sentences += tasks.sentences()
        return Findings(folded, tasks, not outcome_named and self.scale.signed, sentences)

    def _units(self) -> list[int]:
        """What a number of a task is unique in: a file, or a folder of files of one episode."""
        single = len(self.sources) > 2 and max(self._counts.values(), default=0) <= 1
        if not single:
            return list(range(len(self.sources)))
        folders: dict[object, int] = {}
        return [folders.setdefault(source.path.parent, i) for i, source in enumerate(self.sources)]
