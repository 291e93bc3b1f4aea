"""What is in a set of episodes, in numbers and in words, before anything is learned from it.

One pass over a stream of episodes; memory grows with the number of distinct texts only (hashes).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pgv_jax.data.thought_origin import OWN, thought_origin
from pgv_jax.report.health.leaks import NAMED, OUTCOMES, action_head, find_leaks
from pgv_jax.texts.templates import observation_text, sentences
from pgv_jax.types import Episode, Step

TOKEN_LIMIT = 256
"""What the default encoder (MiniLM) reads of a text."""
FULL_HISTORY = 10**6
SHOWN_STEPS = 4


def estimate_tokens(text: str) -> int:
    """Tokens of a text, estimated without a tokenizer: words and marks, long words in pieces."""
    return 2 + len(re.findall(r"\w{1,6}|[^\w\s]", text))


def _digest(*texts: str) -> bytes:
    joined = "\x1f".join(texts).encode("utf-8", "replace")
    return hashlib.blake2b(joined, digest_size=12).digest()


@dataclass
class Spread:
    """A growing list of numbers and its quantiles."""

    values: list[float] = field(default_factory=list)

    def facts(self) -> dict[str, float]:
        """Return min, median, mean, p90 and max (zeros when empty)."""
        ordered = sorted(self.values) or [0.0]
        last = len(ordered) - 1
        return {
            "min": ordered[0],
            "median": ordered[last // 2],
            "mean": sum(ordered) / len(ordered),
            "p90": ordered[round(0.9 * last)],
            "max": ordered[-1],
        }


@dataclass
class Description:
    """What ``describe`` found. ``facts`` is JSON; ``problems`` are sentences; ``samples`` three."""

    facts: dict[str, Any]
    problems: list[str]
    samples: list[Episode]
    lengths: dict[str, list[int]]
    tokens: list[int]


class _Survey:
    """The counters of one pass."""

    def __init__(self, count_tokens: Callable[[str], int]):
        self.count_tokens = count_tokens
        self.splits: dict[str, Counter[str]] = {}
        self.tasks: dict[str, set[bytes]] = {}
        self.lengths: dict[str, list[int]] = {name: [] for name in OUTCOMES.values()}
        self.scores = Spread()
        self.note_tokens: list[int] = []
        self.over: Counter[str] = Counter()
        self.thoughts: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self.usage: Counter[str] = Counter()
        self.whole: set[bytes] = set()
        self.notes: set[bytes] = set()
        self.pairs: set[bytes] = set()
        self.final_says: Counter[str] = Counter()
        self.leaks: dict[str, Counter[tuple[str, str]]] = {"final": Counter(), "action": Counter()}
        self.named_examples: list[str] = []
        self.samples: dict[str, Episode] = {}

    def add(self, episode: Episode) -> None:
        outcome = OUTCOMES[episode.success]
        split = episode.split or "all"
        self.splits.setdefault(split, Counter()).update(
            {"episodes": 1, "steps": len(episode.steps), outcome: 1}
        )
        self.tasks.setdefault(split, set()).add(_digest(episode.task_id))
        self.lengths[outcome].append(len(episode.steps))
        if episode.score is not None:
            self.scores.values.append(episode.score)
        self.flags["terminal"] += episode.is_terminal
        self.samples.setdefault(outcome, episode)
        self.samples.setdefault("longest", episode)
        if len(episode.steps) > len(self.samples["longest"].steps):
            self.samples["longest"] = episode
        key = _digest(episode.task, *(s.observation + "\x1e" + s.action for s in episode.steps))
        self.flags["duplicate_episodes"] += key in self.whole
        self.whole.add(key)
        for t, step in enumerate(episode.steps):
            self._step(episode, t, step)
        self._ends(episode, outcome)

    def _step(self, episode: Episode, t: int, step: Step) -> None:
        tokens = self.count_tokens(step.observation)
        self.note_tokens.append(tokens)
        self.over["observation"] += tokens > TOKEN_LIMIT
        self.over["history"] += (
            tokens > TOKEN_LIMIT or self.count_tokens(observation_text(episode, t, 5)) > TOKEN_LIMIT
        )
        self.over["thought"] += self.count_tokens(step.thought) > TOKEN_LIMIT
        self.thoughts[thought_origin(step, episode.task)] += 1
        self.flags["empty_observations"] += not step.observation.strip()
        self.flags["with_candidates"] += bool(step.candidates)
        self.flags["candidates"] += len(step.candidates)
        self.flags["with_reward"] += step.reward is not None
        for name in ("prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd"):
            value = step.metadata.get(name)
            if isinstance(value, int | float):
                self.usage[name] += value  # type: ignore[assignment]
        self.notes.add(_digest(step.observation))
        self.pairs.add(_digest(step.observation, step.action))
        found = NAMED.search(step.observation)
        if found:
            self.flags["observations_name_outcome"] += 1
            self._example(found.group())

    def _ends(self, episode: Episode, outcome: str) -> None:
        found = NAMED.search(episode.final_observation)
        if found:
            self.flags["finals_name_outcome"] += 1
            self._example(found.group())
        if episode.success is None:
            return
        for sentence in set(sentences(episode.final_observation)):
            self.leaks["final"][sentence[:200], outcome] += 1
        for head in {action_head(step.action) for step in episode.steps}:
            self.leaks["action"][head, outcome] += 1

    def _example(self, words: str) -> None:
        if len(self.named_examples) < 5 and words.lower() not in self.named_examples:
            self.named_examples.append(words.lower())


def describe(
    episodes: Iterable[Episode], count_tokens: Callable[[str], int] | None = None
) -> Description:
    """Survey episodes; ``count_tokens`` is the encoder's own count, else an estimate is used."""
    survey = _Survey(count_tokens or estimate_tokens)
    for episode in episodes:
        survey.add(episode)
    facts = _facts(survey, estimated=count_tokens is None)
    names = ("success", "failure", "unknown", "longest")
    chosen: list[Episode] = []
    for name in names:
        episode = survey.samples.get(name)  # type: ignore[assignment]
        if episode is not None and all(episode is not other for other in chosen):
            chosen.append(episode)
    return Description(facts, _problems(facts), chosen[:3], survey.lengths, survey.note_tokens)


def _facts(survey: _Survey, estimated: bool) -> dict[str, Any]:
    total: Counter[str] = sum(survey.splits.values(), Counter())
    episodes, steps = total["episodes"], total["steps"]
    known = total["success"] + total["failure"]
    base = {name: total[name] / known for name in ("success", "failure")} if known else {}
    tasks: set[bytes] = set().union(*survey.tasks.values())
    share = {name: count / max(1, steps) for name, count in survey.over.items()}
    own = sum(survey.thoughts[origin] for origin in OWN)
    return {
        "episodes": episodes,
        "steps": steps,
        "tasks": len(tasks),
        "splits": {
            name: {**counts, "tasks": len(survey.tasks[name])}
            for name, counts in survey.splits.items()
        },
        "outcomes": {name: total[name] for name in OUTCOMES.values()},
        "terminal": survey.flags["terminal"],
        "length": Spread([n for group in survey.lengths.values() for n in group]).facts(),
        "length_by_outcome": {
            name: Spread(list(values)).facts() for name, values in survey.lengths.items() if values
        },
        "scores": survey.scores.facts() if survey.scores.values else None,
        "tokens": {
            "estimated": estimated,
            "limit": TOKEN_LIMIT,
            "observation": Spread(list(survey.note_tokens)).facts(),
            "share_over_limit": share,
        },
        "usage": dict(survey.usage),
        "thoughts": dict(survey.thoughts),
        "share_with_own_thought": own / max(1, steps),
        "distinct_observations": len(survey.notes),
        "distinct_observation_actions": len(survey.pairs),
        **{
            name: survey.flags[name]
            for name in (
                "duplicate_episodes",
                "empty_observations",
                "with_candidates",
                "candidates",
                "with_reward",
                "observations_name_outcome",
                "finals_name_outcome",
            )
        },
        "outcome_words": survey.named_examples,
        "leaks": {
            kind: [
                {"text": text, "outcome": outcome, "episodes": count, "share": share}
                for text, outcome, count, share in find_leaks(counts, base)[:10]
            ]
            for kind, counts in survey.leaks.items()
        },
    }


def _problems(facts: dict[str, Any]) -> list[str]:
    """The findings that a person should act on, each a sentence with its remedy."""
    episodes, steps = max(1, facts["episodes"]), max(1, facts["steps"])
    outcomes = facts["outcomes"]
    known = outcomes["success"] + outcomes["failure"]
    out: list[str] = []
    if known == 0:
        out.append("No episode has an outcome: import again with --rewards or --success.")
    elif outcomes["unknown"]:
        out.append(
            f"{outcomes['unknown']:,} of {episodes:,} episodes have no outcome; they teach state "
            "goals only."
        )
    if known and 0 in (outcomes["success"], outcomes["failure"]):
        one = "success" if outcomes["success"] else "failure"
        out.append(f"Every known outcome is {one}: nothing can be learned about the other.")
    if facts["tasks"] < 100:
        count = f"{facts['tasks']} task{'' if facts['tasks'] == 1 else 's'}"
        out.append(
            f"The log has {count}. With 50 tasks an AUC under .60 cannot be told from chance; with "
            "500 the half-width is .05."
        )
    out.extend(_leak_problems(facts, episodes, steps))
    if facts["duplicate_episodes"]:
        out.append(
            f"{facts['duplicate_episodes']:,} of {episodes:,} episodes are exact repetitions "
            "(task, observations, actions): was a file imported twice?"
        )
    own = facts["share_with_own_thought"]
    if own < 0.5:
        out.append(
            f"{1 - own:.0%} of the steps have no reasoning of their own; there the thought is the "
            "words or the action, so Q ranks actions rather than reasons."
        )
    share = facts["tokens"]["share_over_limit"]
    guess = " (estimated)" if facts["tokens"]["estimated"] else ""
    if share.get("observation", 0) > 0.05:
        out.append(
            f"{share['observation']:.0%} of the observations exceed {TOKEN_LIMIT} tokens{guess}"
            "; the encoder minilm cuts them there, sentences:minilm reads each sentence by itself."
        )
    if share.get("history", 0) > 0.2:
        out.append(
            f"With a history of 5 turns {share['history']:.0%} of the observation texts exceed "
            f"{TOKEN_LIMIT} tokens{guess}; with minilm, history: 0 fits better here."
        )
    if facts["empty_observations"] > 0.02 * steps:
        out.append(f"{facts['empty_observations']:,} observations are empty.")
    return out


def _leak_problems(facts: dict[str, Any], episodes: int, steps: int) -> list[str]:
    out = []
    words = ", ".join(f"'{w}'" for w in facts["outcome_words"])
    if facts["observations_name_outcome"]:
        out.append(
            f"{facts['observations_name_outcome']:,} of {steps:,} observations seem to name an "
            f"outcome ({words}): a critic that reads them knows the answer."
        )
    if facts["finals_name_outcome"]:
        out.append(
            f"{facts['finals_name_outcome']:,} of {episodes:,} final observations seem to name the "
            f"outcome ({words}); as state goals they leak it."
        )
    for leak in facts["leaks"]["action"][:3]:
        out.append(
            f"The action '{leak['text']}' stands in {leak['episodes']:,} episodes, "
            f"{leak['share']:.0%} of them {leak['outcome']}: it predicts the label by itself."
        )
    for leak in facts["leaks"]["final"][:3]:
        out.append(
            f"The final sentence '{leak['text'][:80]}' ends {leak['episodes']:,} episodes, "
            f"{leak['share']:.0%} of them {leak['outcome']}."
        )
    return out


def shortened(text: str, width: int = 150) -> str:
    """A text on one line, cut to ``width`` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 3] + "..."


def sample_lines(episode: Episode, steps: int = SHOWN_STEPS) -> list[str]:
    """Return an episode's beginning and end, a line a text."""
    score = "" if episode.score is None else f", score {episode.score:g}"
    lines = [
        f"Episode {episode.episode_id}: {OUTCOMES[episode.success]}{score}, "
        f"{len(episode.steps)} steps",
        f"  task         {shortened(episode.task)}",
    ]
    for t, step in enumerate(episode.steps[:steps]):
        lines.append(f"  {t:<2} observation {shortened(step.observation)}")
        lines.append(f"     thought     {shortened(step.thought)}")
        lines.append(f"     action      {shortened(step.action)}")
    if len(episode.steps) > steps:
        lines.append(f"  ... {len(episode.steps) - steps} more steps")
    lines.append(f"  final        {shortened(episode.final_observation)}")
    return lines
