"""What a rollout says of itself: its settings, how far it is, and what went wrong on the way."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pgv_jax.agents.agent import Decision
from pgv_jax.errors import PgvError
from pgv_jax.files import write_whole
from pgv_jax.llm.budget import Spend
from pgv_jax.types import Episode, Step

T = TypeVar("T")

FORMAT = "pgv_jax.run"
VERSION = 1

_MAY_CHANGE = (
    *("api.base_url", "api.key_env", "api.timeout", "api.connect_timeout", "api.concurrency"),
    *("api.tries", "api.retry_base", "api.retry_cap", "api.local.threads", "tracing"),
    "api.http",  # of records that earlier versions wrote
    *("artifact", "budget", "cache", "concurrency", "store"),
    *("task.goals", "task.ids", "task.repeats", "task.split"),
)
"""Settings with which the same run can be continued: none of them changes an episode.

The critic is compared by its parameters, not by where they are; a server may move.
"""

HOPELESS = 10
"""So many decisions without an answer, and none with one, end a run: the next will be no better."""

MANY = 1 / 3
"""A share of proposals of little use above which a reader of the result is warned."""

_OF_LITTLE_USE = {
    "unusable": "no action was found in them; look at the model's answers and at max_tokens.",
    "inadmissible": "their action is none of those that the task offers; look at the prompt.",
    "repeated": "their action was proposed already; raise rounds or temperature, or ask for fewer "
    "candidates.",
}
"""A count of proposals (``propose.proposal_counts``) -> what to look at where it is high."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` of ``count``, counted from 0; tasks are dealt in turn, whole."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "I/N"."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise PgvError(
                f"Shard '{text}' is not of the form I/N with 0 <= I < N: of four shards, the first "
                "is 0/4 and the last 3/4."
            )
        return cls(int(index), int(count))

    @property
    def suffix(self) -> str:
        """What stands behind the names of a shard's files; nothing where there is but one."""
        return "" if self.count == 1 else f"-{self.index}-of-{self.count}"

    def part(self, tasks: Sequence[T]) -> Sequence[T]:
        """The tasks of this shard."""
        return tasks[self.index :: self.count]


class Watch:
    """Counts as a run goes on; it ends one in which nothing is ever answered."""

    def __init__(self) -> None:
        self.begun = False
        self.finished = self.succeeded = self.decisions = self.answered = 0
        self.earlier = self.unanswered_episodes = 0
        """Decisions of episodes that an earlier start saved; episodes without any answer."""
        self.score = 0.0
        self.unanswered: Counter[str] = Counter()
        self.unscored: Counter[str] = Counter()
        self.refinements: Counter[str] = Counter()
        self.proposals: Counter[str] = Counter()

    def begin(self, played: Iterable[Episode]) -> None:
        """The run goes on from these episodes."""
        self.begun = True
        for episode in played:
            self.episode(episode)
            self.earlier += len(episode.steps)
            errors = (str(step.metadata.get("error", "")) for step in episode.steps)
            self.unanswered.update(error for error in errors if error)

    def episode(self, episode: Episode) -> None:
        """An episode is over."""
        self.finished += 1
        self.unanswered_episodes += all(map(_unanswered, episode.steps))
        self.succeeded += bool(episode.success)
        self.score += episode.score or 0.0

    def decision(self, decision: Decision) -> None:
        """A decision was made; raises where none ever gets an answer."""
        self.decisions += 1
        # Nobody was asked at a random move.
        self.answered += bool(decision.completions) or bool(decision.metadata.get("random"))
        if decision.error:
            self.unanswered[decision.error] += 1
        if failure := decision.metadata.get("scorer_failed"):
            self.unscored[str(failure)] += 1
        self.proposals.update(decision.proposals)
        refinement = decision.metadata.get("refinement")
        if isinstance(refinement, Mapping):
            self.refinements[str(refinement["outcome"])] += 1
            if refinement["reason"]:
                self.refinements[f"fallback: {refinement['reason']}"] += 1
            self.refinements["malformed answers"] += int(refinement["malformed"])
        if not self.answered and self.decisions >= HOPELESS:
            sentence = self.unanswered.most_common(1)[0][0] if self.unanswered else "No text came."
            raise PgvError(
                f"None of the first {self.decisions} decisions got an answer. {sentence}"
            )

    def warnings(self) -> list[str]:
        """Sentences about what a reader of the result must know."""
        found = []
        for counts, of, what in (
            (self.unanswered, self.earlier + self.decisions, "got no answer, or too few"),
            (self.unscored, self.decisions, "were unguided, as the critic failed"),
        ):
            if counts:
                first = counts.most_common(1)[0][0]
                found.append(f"{counts.total()} of {of} decisions {what} (most often: {first})")
        if self.unanswered_episodes:
            found.append(
                f"In {self.unanswered_episodes} of {self.finished} episodes the model never "
                "answered; they count as lost, and say nothing of it. Play them in another --out "
                "once it answers."
            )
        for kind, why in _OF_LITTLE_USE.items():
            if self.proposals[kind] > MANY * self.proposals["read"]:
                found.append(
                    f"{self._share(kind)} of {self.proposals['read']} proposals are {kind}: {why}"
                )
        return found

    def proposals_in_words(self) -> str:
        """The shares of proposals that are of little use; "" where there are none."""
        kinds = [kind for kind in _OF_LITTLE_USE if self.proposals[kind]]
        shares = [f"{self._share(kind)} {kind}" for kind in kinds]
        return f"of {self.proposals['read']} proposals {', '.join(shares)}" if shares else ""

    def _share(self, kind: str) -> str:
        return f"{100 * self.proposals[kind] / self.proposals['read']:.0f} %"

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values; ``decisions`` are those of the last start alone.

        So are the counts of these, but ``unanswered``, which has those of all saved episodes.
        """
        return {
            "finished": self.finished,
            "succeeded": self.succeeded,
            "score": round(self.score / self.finished, 6) if self.finished else None,
            "decisions": self.decisions,
            "unanswered": dict(self.unanswered),
            "unanswered_episodes": self.unanswered_episodes,
            "unscored": dict(self.unscored),
            "refinements": {name: count for name, count in self.refinements.items() if count},
            "proposals": {name: self.proposals[name] for name in ("read", *_OF_LITTLE_USE)},
        }


def _unanswered(step: Step) -> bool:
    return bool(step.metadata.get("error")) and not (
        step.action or step.metadata.get("completion_tokens")
    )


class RunRecord:
    """``run.json``: written when a run starts and when it ends, however it ends."""

    def __init__(self, path: Path, clean: Callable[[str], str]):
        self.path, self._clean = path, clean
        self._about: dict[str, Any] = {}

    def claim(self, about: Mapping[str, Any]) -> None:
        """Note what the run is; a folder that holds another run, or a shard of one, is refused."""
        self._about = {"format": FORMAT, "version": VERSION, **about}
        for path in sorted(self.path.parent.glob("run*.json")):
            self._compare(_read(path))
        self._write({**self._about, "state": "running"})

    def close(self, state: str, reason: str, so_far: Mapping[str, Any]) -> None:
        """Note how it ended: finished, interrupted or stopped (``reason``)."""
        self._write({**self._about, "state": state, "reason": reason, **so_far})

    def _compare(self, known: Mapping[str, Any]) -> None:
        old, new = (dict(_flat(_same(about))) for about in (known, self._about))
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                raise PgvError(
                    f"{self.path.parent} holds a rollout with {key} = {old.get(key)}, and this one "
                    f"has {new.get(key)}; choose another --out, or remove that folder."
                )

    def _write(self, record: Mapping[str, Any]) -> None:
        text = self._clean(json.dumps(record, indent=1, ensure_ascii=False))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, f"{text}\n")
        except OSError as error:
            raise PgvError(f"Cannot write {self.path}: {error.strerror}.") from None


@contextmanager
def alone(folder: Path, suffix: str = "") -> Iterator[None]:
    """Keep a second process out of the same run (or shard); the lock ends with this process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".lock{suffix}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PgvError(
                f"Another process plays this rollout in {folder} right now; wait for it, or "
                "choose another --out."
            ) from None
        except OSError:
            pass  # a file system without locks: nothing can be known
        yield


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PgvError(f"{path} cannot be read: {error}.") from None
    if not isinstance(known, dict) or known.get("format") != FORMAT:
        raise PgvError(f"{path} is not the record of a rollout; choose another --out.")
    return known


def _same(about: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that all starts and all shards of one run share."""
    critic = about.get("critic") or {}
    return {
        **about.get("settings", {}),
        "prompts": about.get("prompts"),
        "critic": {"sha256": critic.get("sha256")},
        "shards": about.get("shard", [0, 1])[1],
    }


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key in _MAY_CHANGE:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def bill(spent: Spend) -> dict[str, float]:
    """What was spent, as a record has it."""
    return {
        "requests": spent.requests,
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "dollars": round(spent.dollars, 6),
    }


def fingerprint(folder: str) -> dict[str, str]:
    """An artifact's place and the SHA-256 of its parameters."""
    digest = hashlib.sha256((Path(folder) / "params.safetensors").read_bytes()).hexdigest()
    return {"artifact": folder, "sha256": digest}
