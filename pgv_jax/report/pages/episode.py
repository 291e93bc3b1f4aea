"""The episode viewer: one episode as a page, with what a critic says of each step.

Values are an artifact's where one is given, else those that the run recorded.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgv_jax.report.pages.episode_values import CURVES, Values
from pgv_jax.report.pages.html import render
from pgv_jax.report.pages.plots import or_sentence, value_curves
from pgv_jax.report.pages.transcript import bar_scale, bar_share, chosen_place
from pgv_jax.texts.templates import sentences
from pgv_jax.types import Candidate, Episode, Step

MOST_BYTES = 1_900_000
"""A page grows no larger: longer texts are cut, down to the last of ``LIMITS``."""
LIMITS = (20_000, 8_000, 4_000, 2_000, 1_000, 500, 250, 120)
"""Characters of one text, tried in this order."""
TURNS = 5
"""So many of the largest changes of a value are named."""
GROUP = 25
"""Steps between two places that the page's own links lead to."""
ALIKE = 0.5
"""Two thoughts that share less are told as one that went and one that came."""
HEADING = 80
"""Characters of an action that a heading holds."""
REPEATED = 0.5
"""An observation is told by what is new where more of its sentences than this stood before."""

OUTCOMES = {
    True: "ended in success",
    False: "ended without success",
    None: "has no known outcome",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One value for one goal; ``share`` of the full width, in [0, 1]. ``side``: good, bad or ""."""

    goal: str
    value: float
    share: float
    side: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate thought of a step; ``rewritten``: it came out of the refinement."""

    thought: str
    action: str
    bars: tuple[Bar, ...]
    chosen: bool
    correct: bool | None
    rewritten: bool
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """One look at a thought: what the model was shown, and the next thought as a diff.

    ``diff`` holds (kind, words) with kind "same", "gone" or "new"; empty where nothing followed.
    """

    thought: str
    bars: tuple[Bar, ...]
    shown: str
    kept: bool
    diff: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """A step, numbered from 1. ``fresh`` is what is new in the observation; "" tells it whole.

    ``in_heading``: the action is short and not the thought itself, so it stands in the heading.
    """

    number: int
    observation: str
    fresh: str
    thought: str
    action: str
    in_heading: bool
    proposals: tuple[Proposal, ...]
    rounds: tuple[Round, ...]
    refined: str
    values: tuple[tuple[str, float, float | None], ...]
    facts: tuple[str, ...]


def episode_page(episode: Episode, values: Values, source: str) -> str:
    """The page; ``source`` says where the episode is from. Long texts are cut to ``MOST_BYTES``."""
    page = ""
    for limit in LIMITS:
        page = _page(episode, values, source, limit)
        if len(page.encode()) <= MOST_BYTES:
            break
    return page


def near_ids(wanted: str, ids: Iterable[str], count: int = 5) -> list[str]:
    """The ids that ``wanted`` may have meant: those that hold it first, then near misses."""
    known = list(dict.fromkeys(ids))
    holding = [each for each in known if wanted and wanted.lower() in each.lower()]
    close = difflib.get_close_matches(wanted, known, n=count, cutoff=0.5)
    return list(dict.fromkeys([*holding[:count], *close, *known[:count]]))[:count]


def word_diff(old: str, new: str) -> tuple[tuple[str, str], ...]:
    """What became of ``old``: parts ("same" | "gone" | "new", words) that tell both texts."""
    a, b = (re.findall(r"\s*[\w'\u2019-]+|\s*[^\w\s]|\s+", text) for text in (old, new))
    parts: list[tuple[str, str]] = []
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    if matcher.ratio() < ALIKE:
        return tuple((kind, text) for kind, text in (("gone", old), ("new", new)) if text)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            parts.append(("same", "".join(a[i:j])))
            continue
        parts += [("gone", "".join(a[i:j]))] if i < j else []
        parts += [("new", "".join(b[k:m]))] if k < m else []
    return tuple(parts)


def _page(episode: Episode, values: Values, source: str, limit: int) -> str:
    numbers = [value for each in values.q for known in each for value in known.values()]
    numbers += [float(goal["score"]) for goal in _scored_goals(episode)]
    scale = bar_scale(numbers)
    goals = list(dict.fromkeys(goal for each in values.q for known in each for goal in known))
    curves = {goal: list(points) for goal, points in values.curves.items()}
    scenes = [_scene(episode, t, values, scale, limit) for t in range(len(episode.steps))]
    return render(
        "episode.html",
        episode=episode,
        task=cut(episode.task, limit),
        outcome=OUTCOMES[episode.success],
        source=source,
        values=values,
        goals=goals if len(goals) <= CURVES else [],
        one_goal=len(goals) == 1,
        has_values=bool(numbers),
        scale=scale,
        chart=or_sentence(value_curves)(curves) if curves else None,
        turns=_turns(curves),
        facts=_facts(episode),
        logged=_logged(episode, limit),
        groups=[scenes[i : i + GROUP] for i in range(0, len(scenes), GROUP)],
        final=cut(episode.final_observation, limit),
        limit=limit if any(len(text) > limit for text in _texts(episode)) else None,
    )


def cut(text: str, limit: int) -> str:
    """The text, or its first ``limit`` characters and how many are missing."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more)"


def _scene(episode: Episode, t: int, values: Values, scale: float, limit: int) -> Scene:
    step = episode.steps[t]
    before = episode.steps[t - 1].observation if t else ""
    chosen = chosen_place(step)
    outcome, refined, rounds = _refinement(step, scale, limit)
    candidates = step.candidates or (Candidate(step.thought, step.action),)
    proposals = tuple(
        Proposal(
            cut(c.thought, limit),
            cut(c.action, limit),
            tuple(Bar(goal, v, bar_share(v, scale)) for goal, v in values.q[t][i].items()),
            i == chosen or not step.candidates,
            c.correct,
            outcome == "rewritten" and i == len(candidates) - 1,
            cut(values.expected[t][i], limit) if values.expected else "",
        )
        for i, c in enumerate(candidates)
    )
    return Scene(
        number=t + 1,
        observation=cut(step.observation, limit),
        fresh=cut(_fresh(before, step.observation), limit),
        thought=cut(step.thought, limit),
        action=cut(step.action, limit),
        in_heading=len(step.action) <= HEADING and step.action != step.thought,
        proposals=proposals,
        rounds=rounds,
        refined=refined,
        values=tuple(_at(values.curves, t + 1)),
        facts=tuple(_step_facts(step)),
    )


def _at(
    curves: Mapping[str, Sequence[tuple[int, float]]], number: int
) -> Iterator[tuple[str, float, float | None]]:
    """(goal, value, change from the step before) of the curves at a step."""
    for goal, points in curves.items():
        for i, (at, value) in enumerate(points):
            if at == number:
                follows = i > 0 and points[i - 1][0] == number - 1
                yield goal, value, value - points[i - 1][1] if follows else None


def _fresh(before: str, now: str) -> str:
    """The sentences that were not seen a step before, where most were; "" where few were."""
    seen, here = set(sentences(before)), sentences(now)
    new = [sentence for sentence in here if sentence not in seen]
    if not seen or len(here) - len(new) <= REPEATED * len(here):
        return ""
    return "\n".join(new) or "Nothing new."


def _refinement(step: Step, scale: float, limit: int) -> tuple[str, str, tuple[Round, ...]]:
    """How the refinement ended, the same in words, and its rounds."""
    record = step.metadata.get("refinement")
    if not isinstance(record, Mapping) or "outcome" not in record:
        return "", "", ()
    outcome = str(record["outcome"])
    told = [each for each in record.get("rounds") or () if isinstance(each, Mapping)]
    following = [str(each.get("thought", "")) for each in told[1:]]
    if outcome != "fallback":  # then the thought after the last round is not known
        following.append(step.thought)
    rounds = []
    for i, each in enumerate(told):
        thought, kept = str(each.get("thought", "")), bool(each.get("kept"))
        after = following[i] if i < len(following) and not kept else thought
        rounds.append(
            Round(
                cut(thought, limit),
                tuple(_round_bars(each, scale)),
                cut(str(each.get("shown", "")), limit),
                kept,
                word_diff(cut(thought, limit), cut(after, limit)) if after != thought else (),
            )
        )
    words = {
        "kept": "kept the thought as it was proposed",
        "rewritten": "rewrote the thought",
        "fallback": f"fell back to the proposed thought ({record.get('reason') or 'unknown'})",
    }
    return outcome, words.get(outcome, outcome), tuple(rounds)


def _round_bars(told: Mapping[str, Any], scale: float) -> Iterator[Bar]:
    if isinstance(told.get("score"), int | float):
        yield Bar("one number for success", told["score"], bar_share(told["score"], scale))
    for goal in told.get("goals") or ():
        value = goal.get("score")
        if isinstance(value, int | float):
            side = "good" if goal.get("good") else "bad"
            yield Bar(str(goal.get("text", "")), value, bar_share(value, scale), side)


def _scored_goals(episode: Episode) -> Iterator[Mapping[str, Any]]:
    for step in episode.steps:
        record = step.metadata.get("refinement")
        for told in (record.get("rounds") or ()) if isinstance(record, Mapping) else ():
            for each in [told, *(told.get("goals") or ())]:
                if isinstance(each.get("score"), int | float):
                    yield each


def _turns(
    curves: Mapping[str, Sequence[tuple[int, float]]],
) -> tuple[str, list[tuple[int, float, float]]]:
    """Where the first goal's value changes most: (goal, [(step before, from, to)])."""
    for goal, points in curves.items():
        pairs = [(a[0], a[1], b[1]) for a, b in itertools.pairwise(points) if b[0] == a[0] + 1]
        largest = sorted(pairs, key=lambda pair: -abs(pair[2] - pair[1]))[:TURNS]
        return goal, sorted(pair for pair in largest if abs(pair[2] - pair[1]) >= 0.005)
    return "", []


COSTS = {
    "prompt_tokens": "{:,.0f} tokens read",
    "completion_tokens": "{:,.0f} tokens written",
    "cached_tokens": "{:,.0f} of the tokens read were cached",
    "dollars": "${:,.4f}",
    "cost_usd": "${:,.4f}",
    "seconds": "{:,.2f} s",
}
"""What a step may have cost, and how it is said."""


def _costs(counts: Mapping[str, Any]) -> list[str]:
    return [words.format(counts[name]) for name, words in COSTS.items() if counts.get(name)]


def _step_facts(step: Step) -> Iterator[str]:
    if step.reward:
        yield f"reward {step.reward:g}"
    numbers = (int, float)
    yield from _costs({k: v for k, v in step.metadata.items() if isinstance(v, numbers)})
    if failure := step.metadata.get("scorer_failed"):
        yield f"unguided, as the critic failed: {failure}"


def _facts(episode: Episode) -> list[tuple[str, str]]:
    total: Counter[str] = Counter()
    for step in episode.steps:
        for name in COSTS:
            if isinstance(value := step.metadata.get(name), int | float):
                total[name] += value  # type: ignore[assignment]
    refined = Counter(
        str(step.metadata["refinement"].get("outcome"))
        for step in episode.steps
        if isinstance(step.metadata.get("refinement"), Mapping)
    )
    rows = [
        ("task", episode.task_id),
        ("steps", f"{len(episode.steps):,}"),
        ("score", "" if episode.score is None else f"{episode.score:.3f}"),
        ("split", episode.split or ""),
        ("cost", ", ".join(_costs(total))),
        ("refinements", ", ".join(f"{count} {name}" for name, count in refined.items())),
    ]
    return [(name, words) for name, words in rows if words]


def _logged(episode: Episode, limit: int) -> list[tuple[str, str]]:
    """The episode's own metadata as (name, JSON)."""
    return [
        (name, cut(value if isinstance(value, str) else json.dumps(value), limit))
        for name, value in episode.metadata.items()
    ]


def _texts(episode: Episode) -> Iterator[str]:
    yield from (episode.task, episode.final_observation)
    for step in episode.steps:
        yield from (step.observation, step.thought, step.action)
        yield from (text for c in step.candidates for text in (c.thought, c.action))
