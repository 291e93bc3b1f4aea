"""The README's picture: one decision of a held-out game, as a critic that imagines sees it.

    python benchmarks/picture.py ARTIFACT EPISODES --known DATASET --episode ID --step 4

EPISODES is a rollout's file. Every number and sentence is the critic's; what may appear is looked
for among the sentences of --known. Three of the candidates are shown, by --show. docs/results.md
has the line that drew the picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path

import click
from entry import begin

from pgv_jax.critic.imagined import Expectation
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.samples import dataset_path
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.errors import PgvError
from pgv_jax.report.wording import MINUS
from pgv_jax.texts.sentences import sentences
from pgv_jax.texts.templates import SUCCESS, worded
from pgv_jax.types import Episode, Step

WIDTH, LINE, TOP = 900, 19, 62
LEFT, MIDDLE, RIGHT = 24, 300, 690
BAR = 130
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1c2733; }
.head { font-size: 12px; fill: #5b6b7b; letter-spacing: .04em; text-transform: uppercase; }
.soft { fill: #5b6b7b; font-size: 13px; } .gone { fill: #a33d2a; font-size: 13px; }
.new { fill: #1d7a4f; font-size: 13px; } .best { font-weight: 650; }
.card { fill: #f6f8fa; stroke: #d8dfe6; } .track { fill: #e3e9ef; } .bar { fill: #8aa0b5; }
.chosen { fill: #1d7a4f; } .num { font-variant-numeric: tabular-nums; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .head, .soft { fill: #9aa8b5; } .gone { fill: #f08d77; }
  .new { fill: #6fcf9a; } .card { fill: #161b22; stroke: #30363d; } .track { fill: #2a323b; }
  .bar { fill: #6b7f93; } .chosen { fill: #3fb27f; }
}
"""


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """One line of text."""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def changes(told: Expectation) -> list[tuple[str, str]]:
    """What is expected, as (kind, words): at most two sentences that go and two that come."""
    gone = [("gone", f"{MINUS} {s}") for s, p in told.gone[:2] if p >= 0.5]
    new = [("new", f"+ {s}") for s, p in told.appears[:2] if p >= 0.5]
    ends = [
        ("gone" if name == "failure" else "new", f"ends in {name}: {p:.0%}")
        for name, p in told.ends.items()
        if name in ("success", "failure") and p >= 0.2
    ]
    return [*ends, *gone, *new] or [("soft", "nothing changes")]


def picture(
    step: Step, task: str, thoughts: Sequence[str], critic: ValueFunction, known: Sequence[str]
) -> str:
    """The SVG."""
    q_N = critic.q(task, step.observation, thoughts, [SUCCESS])[:, 0]
    told = critic.expects(task, step.observation, thoughts, known)
    parts = [
        text(LEFT, 30, "Task and note", "head"),
        text(MIDDLE, 30, "Proposal, and what the critic expects", "head"),
        text(RIGHT, 30, f"Q of “{SUCCESS}”", "head"),
    ]
    y = TOP
    for sentence in [*sentences(task), "", *sentences(step.observation)]:
        for line in textwrap.wrap(sentence, 36) or [""]:
            parts.append(text(LEFT, y, line, "soft"))
            y += LINE
    bottom, y = y, TOP
    for thought, value, each in zip(thoughts, q_N.tolist(), told, strict=True):
        best = value == q_N.max()
        rows = changes(each)
        height = LINE * (1 + len(rows)) + 22
        box = f'x="{MIDDLE - 14}" y="{y - 22}" width="{WIDTH - MIDDLE - 6}" height="{height}"'
        parts.append(f'<rect {box} rx="8" class="card"/>')
        parts.append(text(MIDDLE, y, thought, "best" if best else ""))
        for i, (kind, words) in enumerate(rows, 1):
            parts.append(text(MIDDLE, y + LINE * i + 2, words, kind))
        at = f'x="{RIGHT}" y="{y - 11}" height="12" rx="3"'
        parts.append(f'<rect {at} width="{BAR}" class="track"/>')
        kind = "chosen" if best else "bar"
        parts.append(f'<rect {at} width="{max(2, BAR * value):.1f}" class="{kind}"/>')
        parts.append(text(WIDTH - 34, y, f"{value:.2f}", "num best" if best else "num", "end"))
        y += height + 12
    height = max(bottom, y) + 4
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    title = "<title>A decision: three proposals, what each is expected to lead to, and Q</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def found(episodes: Path, episode_id: str) -> Episode:
    """The episode of a rollout."""
    for episode in read_jsonl(episodes):
        if episode.episode_id == episode_id:
            return episode
    raise PgvError(f"{episodes} has no episode '{episode_id}'.")


def noted(dataset: Path) -> list[str]:
    """The distinct sentences of all notes of a dataset."""
    steps = (step for episode in read_episodes(dataset) for step in episode.steps)
    return list(dict.fromkeys(s for step in steps for s in sentences(step.observation)))


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("episodes", type=click.Path(path_type=Path))
@click.option("--known", required=True, help="A dataset.")
@click.option("--episode", "episode_id", required=True)
@click.option("--step", "number", required=True, type=int, help="The step's number, from 0.")
@click.option("--show", "shown", multiple=True, help="Actions of candidates. [the first three]")
@click.option("--out", default="docs/decision.svg", type=click.Path(path_type=Path))
def main(
    artifact: Path,
    episodes: Path,
    known: str,
    episode_id: str,
    number: int,
    shown: tuple[str, ...],
    out: Path,
) -> None:
    """Draw a decision."""
    critic = ValueFunction.load(artifact)
    episode = worded(found(episodes, episode_id), critic.step)
    step = episode.steps[number]
    thoughts = [c.thought for c in step.candidates if not shown or c.action in shown][:3]
    drawn = picture(step, episode.task, thoughts, critic, noted(dataset_path(known)))
    out.write_text(drawn, "utf-8")


if __name__ == "__main__":
    begin(main)
