"""How fast the tasks' environments step, with random admissible actions and without any agent.

    python benchmarks/tasks.py --seconds 5 [--task webshop] [--processes 2]
        [--webshop-data FOLDER] [--game24-data FOLDER]

One JSON line a case. A step is ``env.step`` with what it returns: observation, admissible actions,
reward; resets are counted in the time and not as steps. ``expert`` asks for the expert's action
before each step, as a scripted policy does.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import tempfile
import time
from typing import Any

import click

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import TASKS, TextEnv, make_env

NEEDED = {"textworld": {"train": 4, "test": 0}}
"""Arguments without which a task does not start, or starts slowly."""


def measure(env: TextEnv, seconds: float, seed: int, expert: bool) -> tuple[int, int, float]:
    """Steps, episodes and seconds of play; games that are loaded once are loaded before."""
    rng = random.Random(seed)
    for task in env.task_ids()[:4]:
        env.reset(options={"task": task})
    steps = episodes = 0
    begin = time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        _, info = env.reset(seed=seed + episodes)
        episodes, ended = episodes + 1, False
        while not ended:
            if expert:
                env.expert_action()
            actions = info["admissible_actions"] or ["wait"]
            _, _, terminated, truncated, info = env.step(rng.choice(actions))
            steps, ended = steps + 1, terminated or truncated
    return steps, episodes, spent


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
    opened, tasks, steps, episodes, spent = zip(*parts, strict=True)
    case |= {
        "steps_per_s": round(sum(n / s for n, s in zip(steps, spent, strict=True))),
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


if __name__ == "__main__":
    main()
