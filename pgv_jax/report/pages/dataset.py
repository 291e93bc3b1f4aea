"""The page and the text of ``pgv describe``: facts, problems, charts, three episodes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from markupsafe import Markup

from pgv_jax.report.description import (
    OUTCOMES,
    SHOWN_STEPS,
    TOKEN_LIMIT,
    Description,
    sample_lines,
    shortened,
)
from pgv_jax.report.pages import html, plots

COLORS = {"success": plots.OTHER[2], "failure": plots.OTHER[1], "unknown": plots.OTHER[5]}
SHOWN_CHARACTERS = 400
WHENCE = {
    "given": "a thought of its own",
    "reasoning": "logged reasoning",
    "words": "the agent's words",
    "calls": "the call in words",
    "action": "the action again",
    "repeated": "the observation or the task again",
    "none": "nothing",
}
"""What stands as a step's thought, by its origin (``data.thoughts``)."""


@plots.or_sentence
def lengths_chart(description: Description) -> Markup | None:
    """Steps an episode, stacked by outcome."""
    groups = {name: values for name, values in description.lengths.items() if values}
    if not groups:
        return None
    longest = max(max(values) for values in groups.values())
    bins = np.linspace(0.5, longest + 0.5, min(longest, 30) + 1)
    with plots._figure("lengths", "Steps an episode", 2.6) as (figure, done):
        ax = figure.subplots()
        ax.hist(
            list(groups.values()),
            bins=list(bins),
            stacked=True,
            color=[COLORS[name] for name in groups],
            label=list(groups),
        )
        ax.set(xlabel="steps", ylabel="episodes")
        plots._legend_below(ax, columns=3)
    return done[0]


@plots.or_sentence
def tokens_chart(description: Description) -> Markup | None:
    """Tokens an observation, and the encoder's limit."""
    if not description.tokens:
        return None
    tokens = np.asarray(description.tokens)
    top = int(max(TOKEN_LIMIT * 1.2, np.quantile(tokens, 0.99)))
    with plots._figure("tokens", "Tokens an observation", 2.4) as (figure, done):
        ax = figure.subplots()
        ax.hist(np.minimum(tokens, top), bins=30, color=plots.OTHER[0])
        ax.axvline(TOKEN_LIMIT, color=plots.INK, linestyle=":", linewidth=1)
        ax.annotate(
            "limit",
            (TOKEN_LIMIT, 1.0),
            xycoords=ax.get_xaxis_transform(),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
        )
        ax.set(xlabel="tokens of the observation", ylabel="steps")
    return done[0]


def fact_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts as (name, words)."""
    outcomes, length = facts["outcomes"], facts["length"]
    tokens, usage = facts["tokens"], facts["usage"]
    guess = " (estimated)" if tokens["estimated"] else ""
    rows = [
        ("episodes", f"{facts['episodes']:,} of {_tasks(facts['tasks'])}"),
        (
            "splits",
            "; ".join(
                f"{name} {part['episodes']:,} episodes of {_tasks(part['tasks'])}"
                for name, part in facts["splits"].items()
            ),
        ),
        ("outcomes", ", ".join(f"{outcomes[name]:,} {name}" for name in OUTCOMES.values())),
        (
            "ended",
            f"{facts['terminal']:,} of {facts['episodes']:,}; others were cut off or are unknown",
        ),
        (
            "steps",
            f"{facts['steps']:,}; an episode has {length['min']:.0f} to {length['max']:.0f}, "
            f"median {length['median']:.0f}",
        ),
        (
            "thoughts",
            f"{facts['share_with_own_thought']:.0%} of the steps have one of their own; "
            + ", ".join(
                f"{WHENCE.get(k, k)} at {n:,}" for k, n in Counter(facts["thoughts"]).most_common()
            ),
        ),
        (
            "observations",
            f"{facts['distinct_observations']:,} distinct; median "
            f"{tokens['observation']['median']:.0f} tokens, 90 % up to "
            f"{tokens['observation']['p90']:.0f}{guess}",
        ),
        (
            f"over {tokens['limit']} tokens{guess}",
            f"{tokens['share_over_limit'].get('observation', 0):.1%} of the observations, "
            f"{tokens['share_over_limit'].get('history', 0):.1%} with 5 turns of history, "
            f"{tokens['share_over_limit'].get('thought', 0):.1%} of the thoughts",
        ),
        ("repeated episodes", f"{facts['duplicate_episodes']:,}"),
        (
            "candidates",
            f"{facts['candidates']:,} at {facts['with_candidates']:,} steps"
            if facts["candidates"]
            else "none",
        ),
    ]
    if facts["scores"]:
        score = facts["scores"]
        rows.insert(3, ("scores", f"mean {score['mean']:.3f}, median {score['median']:.3f}"))
    if usage:
        words = ", ".join(f"{name.replace('_', ' ')} {n:,.10g}" for name, n in usage.items())
        rows.append(("logged usage", words))
    return rows


def _tasks(count: int) -> str:
    return f"{count:,} task{'' if count == 1 else 's'}"


def to_text(description: Description, title: str) -> str:
    """Return the description as plain text."""
    rows = fact_lines(description.facts)
    width = max(len(name) for name, _ in rows)
    lines = [title, "", *(f"  {name:<{width}}  {words}" for name, words in rows), ""]
    if description.problems:
        lines.append("Look at these first:")
        lines.extend(f"  - {problem}" for problem in description.problems)
    else:
        lines.append("Nothing stands out.")
    for episode in description.samples:
        lines.extend(["", *sample_lines(episode)])
    return "\n".join(lines) + "\n"


def to_html(description: Description, title: str) -> str:
    """Return the description as one self-contained page."""
    return html.render(
        "describe.html",
        title=title,
        rows=fact_lines(description.facts),
        problems=description.problems,
        charts=[
            chart
            for chart in (
                (lengths_chart(description), "Steps an episode, by outcome."),
                (tokens_chart(description), "Tokens an observation; the right edge gathers more."),
            )
            if chart[0] is not None
        ],
        samples=[
            {
                "id": episode.episode_id,
                "outcome": OUTCOMES[episode.success],
                "steps": len(episode.steps),
                "task": shortened(episode.task, SHOWN_CHARACTERS),
                "shown": [
                    (
                        t,
                        shortened(s.observation, SHOWN_CHARACTERS),
                        shortened(s.thought, SHOWN_CHARACTERS),
                        shortened(s.action, SHOWN_CHARACTERS),
                    )
                    for t, s in enumerate(episode.steps[:SHOWN_STEPS])
                ],
                "final": shortened(episode.final_observation, SHOWN_CHARACTERS),
            }
            for episode in description.samples
        ],
    )
