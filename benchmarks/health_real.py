"""Health reports of critics on five public agent logs, through the commands that a user would type.

    python benchmarks/health_real.py --data ../shared/data --out runs/real [--logs webshop ...]

Imports each log, splits its tasks anew (60 / 15 / 25 % by sha256 of "SEED:task", so that more of
them judge than by default), embeds, trains ``gc_iql`` and the Monte-Carlo objective
for 1,500 updates, and runs ``pgv evaluate``. What exists is not made again, but for the report.
With ``--imagined`` it is ``imagined`` alone, which reads single observations as notes; the line
then has the next-note model's error over that of "nothing changes". With ``--recipe anchored`` a
probe answers success there, and imagining the state goals alone; with ``--recipe auto`` whichever
the recipe chooses.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from entry import begin

from pgv_jax.data.episodes import read_episodes, write_dataset

CHARITY = "Persuade the other person to donate to the charity Save the Children."
LOGS = {
    "persuasion": (
        ["persuasionforgood/full_dialog.csv"],
        [
            *("--agent", "0", "--task", CHARITY),
            *("--rewards", "{data}/persuasionforgood/full_info.csv", "--rewards-where", "B4=1"),
            *("--rewards-key", "B2", "--rewards-value", "B6", "--success", "reward > 0"),
        ],
    ),
    "taubench": (["tau-bench/gpt-4o-airline.json"], []),
    "alfworld": ([f"knowagent/KnowAgentALFWorld_llama-2-13b_D{i}.jsonl" for i in (0, 1)], []),
    "hotpotqa": (
        [f"knowagent/KnowAgentHotpotQA_llama-2-13b_D{i}.jsonl" for i in (0, 1)],
        ["--strip-prefix"],
    ),
    "webshop": (["react-webshop/WebShop.ipynb"], []),
}
ENCODER = "sentences:minilm"
TRAIN = ("train.steps=1500", "train.batch=128", "train.eval_every=100")


def pgv(*arguments: str | Path) -> None:
    """Run a command of ours; one that fails ends everything."""
    command = [sys.executable, "-m", "pgv_jax.cli.main", *map(str, arguments)]
    subprocess.run(command, check=True)


def split(source: Path, target: Path, seed: int) -> None:
    """The same episodes with 60 / 15 / 25 % of the tasks for train / val / test."""
    episodes = list(read_episodes(source))
    tasks = {e.task_id for e in episodes}
    ranked = sorted(tasks, key=lambda t: hashlib.sha256(f"{seed}:{t}".encode()).digest())
    val, test = round(0.15 * len(ranked)), round(0.40 * len(ranked))
    names = {t: "val" if i < val else "test" if i < test else "train" for i, t in enumerate(ranked)}
    write_dataset(target, (replace(e, split=names[e.task_id]) for e in episodes), overwrite=True)


def divided(name: str, data: Path, out: Path, seed: int) -> Path:
    """The folder of a log's data set with its split."""
    folder = out / name
    files, options = LOGS[name]
    if not (folder / "dataset").exists():
        said = [option.replace("{data}", str(data)) for option in options]
        pgv("import", *(data / f for f in files), *said, "--out", folder / "dataset", "--quiet")
    dataset = folder / f"split{seed}"
    if not dataset.exists():
        split(folder / "dataset", dataset, seed)
    return dataset


def judge(name: str, data: Path, out: Path, seed: int) -> dict[str, object]:
    """Everything for one log; returns a line of figures."""
    folder, store = out / name, out / "store"
    dataset = divided(name, data, out, seed)
    runs = folder / f"runs{seed}"
    for objective in ("gc_iql", "monte_carlo"):
        if not (runs / objective / "artifact").exists():
            keys = [f"data.dataset={dataset}", f"data.store={store}", f"data.encoder={ENCODER}"]
            keys += [f"objective.name={objective}", f"train.seed={seed}", *TRAIN]
            pgv("train", "gc_iql", *keys, "--workdir", runs / objective)
    health = folder / f"health{seed}"
    more: list[str | Path] = ["--dataset", dataset, "--store", store, "--out", health]
    more += ["--group", "^[a-z_]+"] if name == "alfworld" else []
    beside = f"monte_carlo={runs / 'monte_carlo' / 'artifact'}"
    pgv("evaluate", runs / "gc_iql" / "artifact", "--beside", beside, *more)
    found = json.loads((health / "report.json").read_text("utf-8"))
    line = {"log": name, "level": found["verdict"]["level"], "adds": found["verdict"]["adds"]}
    return {**line, "reasons": found["verdict"]["reasons"]}


def imagine(name: str, data: Path, out: Path, seed: int, recipe: str) -> dict[str, object]:
    """A critic that imagines on one log; returns a line of figures."""
    dataset, store = divided(name, data, out, seed), out / "store"
    own = "imagined" if recipe == "td" else f"imagined-{recipe}"
    run, health = out / name / f"runs{seed}" / own, out / name / f"{own}{seed}"
    if not (run / "artifact").exists():
        keys = [f"data.dataset={dataset}", f"data.store={store}", f"train.seed={seed}", *TRAIN]
        pgv("train", "imagined", *keys, f"critic.recipe={recipe}", "--workdir", run)
    artifact = run / "artifact"
    pgv("evaluate", artifact, "--dataset", dataset, "--store", store, "--out", health)
    found = json.loads((health / "report.json").read_text("utf-8"))
    manifest = json.loads((artifact / "manifest.json").read_text("utf-8"))
    known, chosen = manifest["metrics"], manifest["recipe"]
    said = {"log": name, "next_error": known.get("val_next_error")}
    said |= {"chosen": chosen["chosen"], "gains": chosen["gains"]}
    for test, mean, beside in (
        ("auc", "mean", ("critic", "logistic_regression")),
        ("goals", "auc", ("critic", "popularity", "similarity")),
    ):
        scorers = found[test].get("scorers", {})
        said[test] = {
            column: (
                scorers[column][mean],
                scorers[column]["ci95"],
                scorers[column].get("critic_minus"),
            )
            for column in beside
            if column in scorers
        }
    return {**said, "level": found["verdict"]["level"], "adds": found["verdict"]["adds"]}


def main() -> None:
    """One JSON line a log."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--out", type=Path, default=Path("runs/real"))
    options.add_argument("--logs", nargs="+", choices=list(LOGS), default=list(LOGS))
    options.add_argument("--seed", type=int, default=0, help="of the splits and the training")
    options.add_argument("--imagined", action="store_true", help="judge critics that imagine")
    options.add_argument(
        "--recipe", choices=("td", "anchored", "auto"), default="td", help="of critics that imagine"
    )
    asked = options.parse_args()
    for name in asked.logs:
        told = (name, asked.data, asked.out, asked.seed)
        line = imagine(*told, asked.recipe) if asked.imagined else judge(*told)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    begin(main)
