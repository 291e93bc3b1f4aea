"""What a critic says of one episode: asked now, or as the run recorded it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgv_jax.critic.imagined import Expectation
from pgv_jax.critic.value import ValueFunction
from pgv_jax.report.pages.transcript import chosen_place
from pgv_jax.report.rows import Scorer
from pgv_jax.texts.templates import SUCCESS, History, observation_text
from pgv_jax.types import Episode

CURVES = 4
"""So many goals at most have a curve."""
MOST_CHANGES, LIKELY, LIKELY_END = 3, 0.3, 0.05
"""Changes of a note that are told at most, and from which chance on; and for ends."""


@dataclass(frozen=True, slots=True)
class Values:
    """What a critic says of an episode of T steps.

    ``q[t][i]`` maps a goal to Q of candidate i of step t (of the step's own thought where it has
    no candidates). ``curves`` maps a goal to points (step from 1, value) of ``letter``, Q or V.
    ``source`` and ``drawn`` say in words whose numbers they are and what the curves are.
    """

    source: str
    letter: str
    drawn: str
    q: Sequence[Sequence[Mapping[str, float]]]
    curves: Mapping[str, Sequence[tuple[int, float]]]
    expected: Sequence[Sequence[str]] = ()
    """What a critic that imagines expects of candidate i of step t, in words."""


def default_goals(episode: Episode) -> tuple[str, ...]:
    """What a critic is asked for unless told otherwise: the episode's own goal, and success."""
    own = episode.metadata.get("goal")
    return tuple(dict.fromkeys([*([str(own)] if own else []), SUCCESS]))


def recorded(episode: Episode) -> Values:
    """The values that the run wrote down; curves are Q of the thought that was acted on."""
    q = [[dict(c.scores) for c in step.candidates] or [{}] for step in episode.steps]
    points: dict[str, list[tuple[int, float]]] = {}
    for t, step in enumerate(episode.steps):
        chosen = chosen_place(step)
        for goal, value in (q[t][chosen] if chosen is not None else {}).items():
            points.setdefault(goal, []).append((t + 1, float(value)))
    often = sorted(points, key=lambda goal: -len(points[goal]))[:CURVES]
    curves = {goal: points[goal] for goal in often if len(points[goal]) > 1}
    return Values("as the run recorded them", "Q", "Q of the thought that was acted on", q, curves)


def expected(episode: Episode, critic: ValueFunction, sentences: Sequence[str]) -> list[list[str]]:
    """What a critic that imagines expects of each candidate of each step, in words.

    ``sentences`` are those that may appear: the log's.
    """
    found = []
    for t, step in enumerate(episode.steps):
        thoughts = [c.thought for c in step.candidates] or [step.thought]
        seen = observation_text(episode, t, critic.history)
        told = critic.expects(episode.task, seen, thoughts, sentences)
        found.append([in_words(each) for each in told])
    return found


def in_words(told: Expectation) -> str:
    """One expectation: the likely changes of the note, and the ends that are likely enough."""

    def listed(pairs: Sequence[tuple[str, float]]) -> str:
        likely = [(text, p) for text, p in pairs[:MOST_CHANGES] if p >= LIKELY]
        return ", ".join(f"\u201c{text}\u201d ({p:.2f})" for text, p in likely)

    gone, appears = listed(told.gone), listed(told.appears)
    ends = [(name, p) for name, p in told.ends.items() if name != "goes on" and p >= LIKELY_END]
    said = [
        f"goes: {gone}" if gone else "",
        f"appears: {appears}" if appears else "",
        *(f"{name} ({p:.2f})" for name, p in ends),
    ]
    return "; ".join(part for part in said if part) or "nothing changes"


def scored(
    episode: Episode,
    scorer: Scorer,
    goals: Sequence[str],
    *,
    history: History,
    heads: Sequence[str],
    name: str,
) -> Values:
    """Ask a critic for Q of every candidate and, where it has that head, V of every observation.

    ``history`` is the number of past turns in the critic's observations; ``name`` names it.
    """
    texts = [observation_text(episode, t, history) for t in range(len(episode.steps) + 1)]
    thoughts = [[c.thought for c in s.candidates] or [s.thought] for s in episode.steps]
    asked = [
        (t, i, thought, goal)
        for t, each in enumerate(thoughts)
        for i, thought in enumerate(each)
        for goal in goals
    ]
    q: list[list[dict[str, float]]] = [[{} for _ in each] for each in thoughts]
    found_B = scorer.q_pairs(
        [episode.task] * len(asked),
        [texts[t] for t, *_ in asked],
        [thought for *_, thought, _ in asked],
        [goal for *_, goal in asked],
    )
    for (t, i, _, goal), value in zip(asked, found_B, strict=True):
        q[t][i][goal] = float(value)
    curves: dict[str, list[tuple[int, float]]] = {}
    if "v" in heads:
        for goal in goals:
            v_T = scorer.v_pairs([episode.task] * len(texts), texts, [goal] * len(texts))
            curves[goal] = [(t + 1, float(value)) for t, value in enumerate(v_T)]
        drawn = "V of what was seen, the end of the episode included"
    else:
        places = [chosen_place(step) or 0 for step in episode.steps]
        for goal in goals:
            curves[goal] = [(t + 1, q[t][i][goal]) for t, i in enumerate(places)]
        drawn = "Q of the thought that was acted on (this critic has no V)"
    letter, curves = drawn[0], dict(list(curves.items())[:CURVES])
    return Values(f"by the critic {name}", letter, drawn, q, curves)
