"""An episode as a chain of segments, and a prefix of that chain as one text.

In episode mode a vector belongs to a *prefix*: the segments read so far, joined by ``SEPARATOR``.
That joined text is the key under which the embedding store keeps the vector, so the store, the
table and the artifact need not know about modes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pgv_jax.types import Episode

SEPARATOR = "\x1e"
"""ASCII record separator; it is taken out of the texts themselves."""
TASK, OBSERVATION, THOUGHT, ACTION = "Task: ", "\nObservation: ", "\nThought: ", "\nAction: "


def join(segments: Iterable[str]) -> str:
    """Segments -> the text of their prefix."""
    return SEPARATOR.join(segment.replace(SEPARATOR, " ") for segment in segments)


def split(prefix: str) -> tuple[str, ...]:
    """The segments that ``join`` joined."""
    return tuple(prefix.split(SEPARATOR))


def segments_of(episode: Episode) -> list[str]:
    """Task, then observation, thought and action of every step, then the final observation."""
    found = [TASK + episode.task]
    for step in episode.steps:
        found += [OBSERVATION + step.observation, THOUGHT + step.thought, ACTION + step.action]
    found.append(OBSERVATION + episode.final_observation)
    return found


def prefixes_of(episode: Episode) -> tuple[list[str], list[str]]:
    """Prefix texts of the observations (steps + 1 of them) and of the thoughts (steps)."""
    segments = segments_of(episode)
    count = len(episode.steps)
    observations = [join(segments[: 2 + 3 * t]) for t in range(count + 1)]
    thoughts = [join(segments[: 3 + 3 * t]) for t in range(count)]
    return observations, thoughts


def chains(prefixes: Sequence[str]) -> list[list[str]]:
    """Group prefixes so that each group lies on one chain, shortest first; duplicates collapse.

    A prefix that several chains share goes to the first of them.
    """
    parts = {prefix: split(prefix) for prefix in prefixes}
    groups: list[list[str]] = []
    # Sorted as tuples, a chain's members are followed by their own extensions.
    for prefix in sorted(parts, key=parts.__getitem__):
        last = parts[groups[-1][-1]] if groups else None
        if last is not None and parts[prefix][: len(last)] == last:
            groups[-1].append(prefix)
        else:
            groups.append([prefix])
    return groups
