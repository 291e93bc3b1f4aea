"""What an arm chose in ALFWorld, command by command: its rollout is replayed beside the expert.

    python benchmarks/right_commands.py RUN... --log DATASET --cache data/alfworld-cache

RUN is a rollout's folder (``words: game``). *Right* is the first command of a shortest way; by
chance is a draw among the distinct commands of a decision. A move goes *back* if it puts a thing
where the same thing was last taken from. Of --log, whose games are not replayed, the moves in the
training episodes are counted. The games are found as in docs/tasks.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
from entry import begin

from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.tasks.alfworld.env import AlfworldEnv
from pgv_jax.types import Episode

TAKE = re.compile(r"take (.+) from (.+)")
MOVE = re.compile(r"(?:move|put) (.+?) (?:to|in/on|in|on) (.+)")


@dataclass
class Counts:
    """Over the decisions of an arm; ``chance`` is a sum of shares."""

    decisions: int = 0
    offered: int = 0
    taken: int = 0
    chance: float = 0.0
    right_moves: int = 0

    def replay(self, env: AlfworldEnv, episode: Episode) -> None:
        """Count an episode's decisions."""
        env.reset(options={"task": episode.task_id})
        for step in episode.steps:
            offers = {c.action for c in step.candidates if c.action} or {step.action}
            right = {action for action in offers if env.correct(action)}
            self.decisions += 1
            self.offered += bool(right)
            self.taken += step.action in right
            self.chance += len(right) / len(offers)
            self.right_moves += step.action in right and bool(MOVE.fullmatch(step.action))
            if env.step(step.action)[2]:
                break


def moves(episodes: Iterable[Episode]) -> tuple[int, int]:
    """The moves in episodes, and those that go back."""
    count = back = 0
    for episode in episodes:
        taken_from: dict[str, str] = {}
        for step in episode.steps:
            action = step.action.strip().lower()
            if take := TAKE.fullmatch(action):
                taken_from[take[1]] = take[2]
            if move := MOVE.fullmatch(action):
                count += 1
                back += taken_from.get(move[1]) == move[2]
    return count, back


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--log", type=click.Path(exists=True, path_type=Path), help="An imported log.")
@click.option("--cache", type=click.Path(path_type=Path), help="A folder of loaded games.")
def main(runs: tuple[Path, ...], log: Path | None, cache: Path | None) -> None:
    """Print a line a run."""
    env = AlfworldEnv(words="game", cache=cache)
    for run in runs:
        episodes = [e for file in sorted(run.glob("episodes*.jsonl")) for e in read_jsonl(file)]
        found = Counts()
        for episode in episodes:
            found.replay(env, episode)
        count, back = moves(episodes)
        chance = found.chance / max(found.offered, 1)
        print(
            f"{run.name}: {len(episodes)} games, {found.decisions} decisions, {found.offered} offer"
            f" a right command; of these {found.taken} took one ({chance:.0%} by chance), "
            f"{found.right_moves} of them moves; {back} of {count} moves go back"
        )
    if log is not None:
        count, back = moves(read_episodes(log, "train"))
        print(f"{log.name}: {back} of {count} moves go back")


if __name__ == "__main__":
    begin(main)
