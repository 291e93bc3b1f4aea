"""How fast the tasks' environments step, with random admissible actions and without any agent.

    python benchmarks/tasks.py --seconds 5 [--task webshop] [--processes 2]
        [--webshop-data FOLDER] [--game24-data FOLDER]

One JSON line a case. A step is ``env.step`` with what it returns: observation, admissible actions,
reward; resets are counted in the time and not as steps. ``expert`` asks for the expert's action
before each step, as a scripted policy does. ``per_cpu_s`` is by the processor time of one core,
which says more than ``per_s`` where others use the machine. Avalon is also played without words:
the table and its scripted players alone, in games.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import tempfile
import time
from typing import Any

import click
from entry import begin

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import TASKS, TextEnv, make_env

NEEDED = {"textworld": {"train": 4, "test": 0}}
"""Arguments without which a task does not start, or starts slowly."""

LOADED = {"alfworld": 4, "textworld": 4}
"""Tasks whose games take long to load: so many are loaded before, and no others played."""


def measure(env: TextEnv, seconds: float, seed: int, expert: bool) -> tuple[float, ...]:
    """Steps, episodes, seconds and CPU seconds of play; games are loaded before."""
    rng = random.Random(seed)
    tasks = env.task_ids()[: LOADED.get(env.name)]
    for task in tasks[:4]:
        env.reset(options={"task": task})
    steps = episodes = 0
    begin, cpu = time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - begin) < seconds:
        _, info = env.reset(seed=seed + episodes, options={"task": rng.choice(tasks)})
        episodes, ended = episodes + 1, False
        while not ended:
            if expert:
                env.expert_action()
            actions = info["admissible_actions"] or ["wait"]
            _, _, terminated, truncated, info = env.step(rng.choice(actions))
            steps, ended = steps + 1, terminated or truncated
    return steps, episodes, spent, time.process_time() - cpu


def silent_games(players: int, talk: bool, seconds: float) -> None:
    """Play Avalon without words and print games a second."""
    from pgv_jax.tasks.avalon.game_table import new_table, play_out
    from pgv_jax.tasks.avalon.players import Player
    from pgv_jax.tasks.avalon.rules import Setup

    rng, games = random.Random(0), 0
    player = Player(0.8, rng)
    begin, cpu = time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - begin) < seconds:
        play_out(new_table(Setup(players), rng, talk), player)
        games += 1
    case = {"case": "avalon, silent games", "players": players, "talk": talk}
    rates = {"per_s": games / spent, "per_cpu_s": games / (time.process_time() - cpu)}
    print(json.dumps({**case, **{k: round(v) for k, v in rates.items()}}), flush=True)


def worker(name: str, args: dict[str, Any], seconds: float, seed: int, expert: bool) -> Any:
    """One process: opening time and ``measure``."""
    begin = time.perf_counter()
    env = make_env(name, **args)
    opened = time.perf_counter() - begin
    return opened, len(env.task_ids()), *measure(env, seconds, seed, expert)


def run(name: str, args: dict[str, Any], seconds: float, processes: int, expert: bool) -> None:
    """Measure one case and print its line."""
    case: dict[str, Any] = {"case": name, "processes": processes, "expert": expert}
    case["args"] = {key: str(value) for key, value in args.items() if key != "folder"}
    jobs = [(name, args, seconds, 1000 * i, expert) for i in range(processes)]
    try:
        if processes == 1:
            parts = [worker(*jobs[0])]
        else:
            with multiprocessing.get_context("spawn").Pool(processes) as pool:
                parts = pool.starmap(worker, jobs)
    except (PgvError, TypeError, ImportError) as error:
        print(json.dumps({**case, "skipped": str(error)}), flush=True)
        return
    opened, tasks, steps, episodes, spent, cpu = zip(*parts, strict=True)
    case |= {
        "steps_per_s": round(sum(n / s for n, s in zip(steps, spent, strict=True))),
        "steps_per_cpu_s": round(sum(steps) / sum(cpu)),
        "episodes_per_s": round(sum(n / s for n, s in zip(episodes, spent, strict=True)), 1),
        "open_s": round(max(opened), 2),
        "tasks": tasks[0],
    }
    print(json.dumps(case), flush=True)


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="Of play, a case and process.")
@click.option("--task", "tasks", multiple=True, help="Only these; by default all that there are.")
@click.option("--processes", default=1, show_default=True)
@click.option("--webshop-data", help="Folder with WebShop's files.")
@click.option("--game24-data", help="Folder with the table of puzzles.")
@click.option("--alfworld-data", help="Folder with ALFWorld's games.")
def main(
    seconds: float,
    tasks: tuple[str, ...],
    processes: int,
    **folders: str | None,
) -> None:
    """Measure each task, without and with its expert."""
    with tempfile.TemporaryDirectory() as games:
        for name in tasks or sorted(TASKS):
            args: dict[str, Any] = dict(NEEDED.get(name, {}))
            if name == "textworld":
                args["folder"] = games
            data = folders.get(f"{name}_data")
            argument = "folder" if name == "alfworld" else "data"
            cases = [args, {**args, argument: data}] if data else [args]
            if name == "webshop":
                cases += [{**case, "observation": "note"} for case in cases]
            for case in cases:
                for expert in (False, True):
                    run(name, case, seconds, processes, expert)
            if name == "avalon":
                for players, talk in ((5, False), (5, True), (10, False), (10, True)):
                    silent_games(players, talk, seconds)


if __name__ == "__main__":
    begin(main)
