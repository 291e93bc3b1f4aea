"""Made-up but likely material for the reports: games, episodes, candidates, scorers.

``python -m tests.report.demo OUT`` writes the two pages, to be looked at.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Candidate, Episode, Step

TASK = (
    "Prepare the meal of the cookbook: take the red potato, slice it with a knife, fry it on the "
    "stove, take the block of cheese, then prepare the meal in the kitchen and eat it."
)
ROOMS = ("kitchen", "pantry", "corridor", "garden", "bedroom", "backyard")
THINGS = ("red potato", "block of cheese", "carrot", "yellow onion", "knife", "chicken leg")
GOOD = (
    ("The task needs the {thing}, so I take it.", "take {thing} from counter"),
    ("The potato must be sliced, and I hold a knife, so I slice it.", "slice red potato"),
    ("The stove fries what the recipe wants fried, so I use it.", "cook {thing} with stove"),
    ("What is missing is in the {room}, so I go there.", "go east"),
)
BAD = (
    ("I put the {thing} down for now.", "drop {thing}"),
    ("I want to see what the {room} looks like.", "go west"),
    ("I close the fridge, so that it stays cold.", "close fridge"),
    ("The {thing} could be diced, so I dice it.", "dice {thing} with knife"),
    ("I go back to where I came from.", "go south"),
)
KINDS = (
    ("open", 34, 0.8),
    ("be in", 60, 0.75),
    ("have", 48, 0.66),
    ("cut", 14, 0.29),
    ("cook", 10, 0.08),
)


def unit(*parts: Any) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def fill(template: tuple[str, str], *seed: Any) -> tuple[str, str]:
    thing = THINGS[int(unit("thing", *seed) * len(THINGS))]
    room = ROOMS[int(unit("room", *seed) * len(ROOMS))]
    thought, action = (text.format(thing=thing, room=room) for text in template)
    return thought, action


def note(game: str, seed: int, t: int) -> str:
    room = ROOMS[int(unit("at", game, seed, t) * len(ROOMS))]
    thing = THINGS[int(unit("hold", game, seed, t) * len(THINGS))]
    return "\n".join(
        [
            f"You are in the {room}.",
            f"You have the {thing}.",
            "The fridge is open." if unit("fridge", game, seed) < 0.5 else "The fridge is closed.",
            "The recipe still needs the block of cheese.",
            f"You have seen {1 + t // 3} rooms.",
        ]
    )


def make_step(game: str, seed: int, t: int, arm: str, knows: float, n: int = 6) -> Step:
    """A step with n candidates, at most one right, chosen right with probability ``knows``."""
    right_at = int(unit("place", game, seed, t) * n) if unit("p", game, seed, t) < 0.9 else -1
    options = []
    for i in range(n):
        # The right one may read like any other, so that words alone do not give it away.
        source = GOOD if i == right_at and unit("plain", game, seed, t) < 0.5 else GOOD + BAD
        template = source[int(unit("pick", game, seed, t, i) * len(source))]
        thought, action = fill(template, game, t, i)
        value = (0.55 if i == right_at else 0.32) + 0.2 * (unit("q", game, seed, t, i) - 0.5)
        value *= 0.6 + 0.03 * t
        options.append(Candidate(thought, action, {SUCCESS: round(value, 4)}, i == right_at))
    hit = unit("hit", arm, game, seed, t) < knows and right_at >= 0
    chosen = options[right_at if hit else int(unit("miss", arm, game, seed, t) * n)]
    return Step(note(game, seed, t), chosen.thought, chosen.action, 0.0, tuple(options))


def make_episode(
    game: str, seed: int, arm: str, success: bool, length: int, **metadata: Any
) -> Episode:
    knows = 0.85 if success else 0.3
    return Episode(
        f"{arm}/{game}/{seed}/{metadata.get('goal', '')}",
        game,
        TASK,
        tuple(make_step(game, seed, t, arm, knows) for t in range(length)),
        note(game, seed, length),
        success,
        is_terminal=success,
        metadata={"seed": seed, **metadata},
    )


def make_arms(games: int = 12, seeds: int = 4) -> dict[str, list[Episode]]:
    chances = {
        "first": 0.02,
        "critic": 0.9,
        "success_only": 0.84,
        "monte_carlo": 0.66,
        "shuffled": 0.03,
        "oracle": 1.0,
    }
    return {
        arm: [
            make_episode(
                f"cooking-{100 + g}",
                seed,
                arm,
                won := unit("won", arm, g, seed) < chance,
                9 + int(16 * unit("length", arm, g, seed)) if won else 30,
            )
            for g in range(games)
            for seed in range(seeds)
        ]
        for arm, chance in chances.items()
    }


def make_goal_arms() -> dict[str, list[Episode]]:
    scale = {"first": 0.55, "critic": 1.0, "success_only": 0.68, "shuffled": 0.52, "oracle": 1.35}
    arms: dict[str, list[Episode]] = {arm: [] for arm in scale}
    for arm, factor in scale.items():
        for kind, count, chance in KINDS:
            for i in range(count):
                won = unit("goal", arm, kind, i) < min(0.97, factor * chance)
                game = f"cooking-{100 + i % 12}"
                about = {"goal_kind": kind, "goal": f"The {kind} number {i} is there."}
                steps = (Step("note", "thought", "look"),) * (6 if won else 20)
                arms[arm].append(
                    Episode(
                        f"{arm}/{kind}/{i}",
                        game,
                        TASK,
                        steps,
                        "note",
                        won,
                        metadata={"seed": i, **about},
                    )
                )
    return arms


def make_logs(tasks: int = 20, per_task: int = 8, first: int = 0) -> list[Episode]:
    """Mixed-skill logs: half of the episodes succeed, on every task."""
    return [
        make_episode(
            f"log-{g}",
            seed,
            "log",
            won := unit("log", g, seed) < 0.5,
            8 + int(10 * unit("len", g, seed)) + (0 if won else 6),
        )
        for g in range(first, first + tasks)
        for seed in range(per_task)
    ]


class KnowingScorer:
    """Knows the outcome of a text it has seen, blurred by ``noise``; V likewise, bounded."""

    def __init__(self, episodes: Sequence[Episode], noise: float, bounded: bool = True):
        self.noise, self.bounded = noise, bounded
        self.worth: dict[tuple[str, str], float] = {}
        for episode in episodes:
            for t, step in enumerate(episode.steps):
                late = 0.97 ** (len(episode.steps) - t)
                worth = late if episode.success else 0.1
                for c in step.candidates:
                    self.worth[step.observation, c.thought] = worth * (1.0 if c.correct else 0.5)
                self.worth[step.observation, step.thought] = worth

    def q_pairs(
        self,
        tasks: Sequence[str],
        observations: Sequence[str],
        thoughts: Sequence[str],
        goals: Sequence[str],
    ) -> np.ndarray:
        found = [self._one(o, t, g) for o, t, g in zip(observations, thoughts, goals, strict=True)]
        return np.array(found, np.float32)

    def v_pairs(
        self, tasks: Sequence[str], observations: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        return self.q_pairs(tasks, observations, [""] * len(tasks), goals)

    def _one(self, observation: str, thought: str, goal: str) -> float:
        worth = self.worth.get((observation, thought), 0.4)
        blur = self.noise * (unit("blur", observation, thought) - 0.5)
        value = worth + blur if goal == SUCCESS else 0.9 - worth + blur
        return min(max(value, 0.0), 1.0) if self.bounded else value


def embed(texts: Sequence[str]) -> np.ndarray:
    """Hash vectors: no two texts resemble each other."""
    from pgv_jax.embed.encoder import HashEncoder

    return HashEncoder(24).encode(list(texts))


def make_metrics() -> list[dict[str, float]]:
    rows = []
    for step in range(0, 3001, 50):
        wobble = 0.02 * (unit("wobble", step) - 0.5)
        rows.append({"step": step, "loss": 0.25 + 0.45 * np.exp(-step / 500) + wobble})
        if step % 250 == 0:
            fit = 1 - np.exp(-step / 700)
            rows[-1]["val_success"] = 0.5 + 0.27 * fit - max(0, step - 1800) * 2e-5
            rows[-1]["val_goals"] = 0.5 + 0.4 * fit
            rows[-1]["val_score"] = (rows[-1]["val_success"] + rows[-1]["val_goals"]) / 2
    return rows


def make_health(noise: float = 0.9) -> dict[str, Any]:
    from pgv_jax.report.health.baselines import fit_baselines
    from pgv_jax.report.health.evaluation import judge

    train, test = make_logs(16, 6, first=100), make_logs(20, 8)
    fitted, notes = fit_baselines(train, embed)
    return judge(
        test,
        KnowingScorer(test, noise),
        baselines=fitted,
        critics={
            "success_only": KnowingScorer(test, noise + 0.4),
            "monte_carlo": KnowingScorer(test, noise + 1.5),
        },
        gamma=0.97,
        notes=notes,
    )


def make_data(health: dict[str, Any]) -> dict[str, Any]:
    from pgv_jax.report.pages.quickstart import arms_summary, goals_summary, pick_story

    arms = make_arms()
    return {
        "arms": arms_summary(arms),
        "goals": goals_summary(make_goal_arms()),
        "offline": health,
        "torch_parity": None,
        "seconds": {
            "play": 46.2,
            "store": 5.1,
            "embed": 14.9,
            "train": 71.0,
            "judge": 18.3,
            "guide": 96.4,
            "goals": 61.7,
            "export": 1.2,
            "report": 2.3,
        },
        "versions": {"pgv_jax": "0.1.0", "python": "3.11.2", "jax": "0.10.2", "flax": "0.12.8"},
        "settings": {
            "seed": 0,
            "quick": False,
            "candidates": 6,
            "expert_in_candidates": 0.9,
            "train_games": 24,
            "train_episodes": 360,
            "test_games": 12,
            "step_limit": 30,
            "repeat_penalty": 0.5,
            "encoder": "all-MiniLM-L6-v2",
        },
        "metrics": make_metrics(),
        "best_step": 1750,
        "story": pick_story(arms),
    }


if __name__ == "__main__":
    from pgv_jax.report.pages.health import write_health
    from pgv_jax.report.pages.quickstart import build_report

    out = Path(sys.argv[1])
    judged = make_health()
    build_report(make_data(judged), out / "quickstart")
    write_health(
        judged,
        {"artifact": "runs/mine/artifact", "dataset": "data/mine", "objective": "gc_iql"},
        out / "health",
    )
