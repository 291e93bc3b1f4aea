"""The quickstart's report: ``report.json``, ``report.html`` and a table for the terminal."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pgv_jax.files import write_whole
from pgv_jax.report.columns import label
from pgv_jax.report.comparison.arms import arms_summary, goals_summary
from pgv_jax.report.pages.html import render
from pgv_jax.report.pages.transcript import pick_story
from pgv_jax.report.wording import MISSING, number, percent, percent_interval

__all__ = ["arms_summary", "build_report", "goals_summary", "pick_story", "terminal_table"]

KEYS = ("arms", "goals", "offline", "torch_parity", "seconds", "versions")
"""What ``report.json`` always holds, beside ``arms_at`` (the arms at other shares of right
commands); ``settings`` and ``log`` join them where given."""

NEXT_STEPS = (
    ("Bring your logs", "pgv import my_logs.jsonl --format auto --out data/mine"),
    ("Embed each distinct text once", "pgv embed data/mine --encoder minilm"),
    ("Train", "pgv train gc_iql data.dataset=data/mine --workdir runs/mine"),
    ("Ask whether to trust it", "pgv evaluate runs/mine/artifact --dataset data/mine"),
    (
        "Guide an API model",
        "export OPENAI_API_KEY=...\npgv rollout rollout "
        "artifact=runs/mine/artifact client=openai:MODEL",
    ),
)
"""(what it does, command): from the reader's own logs to episodes guided by their critic."""


def build_report(data: Mapping[str, Any], out_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html`` into ``out_dir``; returns the JSON report.

    ``data`` holds ``arms`` (of ``arms_summary``), ``goals`` (of ``goals_summary``), ``offline``
    (of ``health.judge``), ``torch_parity``, ``seconds``, ``versions``; any may be missing. For the
    page also, where known: ``settings`` (candidates, expert_in_candidates, proposer, seed, quick,
    train_games, train_episodes, ...), ``log`` (facts of ``describe``, told in log.html beside the
    page), ``judged`` (which episodes ``offline`` is of), ``caveats`` (more sentences), ``metrics``
    (lines of metrics.jsonl), ``best_step``, ``story`` (an Episode) and ``next_steps`` ((what,
    command) pairs).
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    report = {key: data.get(key) for key in KEYS}
    report["arms_at"] = data.get("arms_at") or {}
    for key in ("arms", "goals", "offline", "seconds", "versions"):
        report[key] = report[key] or {}
    for key in ("settings", "log"):
        if data.get(key):
            report[key] = data[key]
    report = finite(report)
    write_whole(out / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    story = data.get("story")
    page = render(
        "quickstart.html",
        report=report,
        settings=data.get("settings") or {},
        sentences=headline(report),
        caveats=[*caveats(report), *(data.get("caveats") or ())],
        judged=data.get("judged"),
        metrics=list(data.get("metrics") or ()),
        best_step=data.get("best_step"),
        story=story,
        next_steps=tuple(data.get("next_steps") or NEXT_STEPS),
    )
    write_whole(out / "report.html", page)
    return report


def headline(report: Mapping[str, Any]) -> list[str]:
    """What happened, in sentences made of the figures (fewer where stages are missing)."""
    said = []
    arms, goals, log = report["arms"], report["goals"], report.get("log")
    if log:
        model = (report.get("settings") or {}).get("proposer", "the model")
        said.append(
            f"The critic learned from {log['episodes']} episodes of {log['tasks']} games that "
            f"{model} itself had played; it had won {log['outcomes']['success']} of them."
        )
    if "critic" in arms:
        critic = arms["critic"]
        sentence = (
            f"On {critic['games']} games that it had never seen, letting the critic choose what to "
            f"do finished {percent(critic['success'])} of {critic['episodes']} episodes "
            f"({_range(critic['ci95'])})"
        )
        others = [
            f"{words} finished {percent(arms[name]['success'])}"
            for name, words in (
                ("first", "taking the first proposal"),
                ("shuffled", "the same scores dealt out at random"),
            )
            if name in arms
        ]
        said.append("; ".join([sentence, " and ".join(others)] if others else [sentence]) + ".")
    if goals and "critic" in goals["arms"]:
        critic = goals["arms"]["critic"]
        sentence = (
            f"Asked at run time for {goals['goals']} goals that were never the task, the same "
            f"critic reached {percent(critic['reached'])} of them ({_range(critic['ci95'])})"
        )
        ratio = (critic.get("ratio_to_first") or {}).get("ratio")
        if "first" in goals["arms"] and ratio is not None:
            first = percent(goals["arms"]["first"]["reached"])
            sentence += f", {number(ratio, 1)} times as many as the first proposal ({first})"
        said.append(sentence + ".")
    return said or ["No guided episode was played, so there is no result to tell yet."]


def caveats(report: Mapping[str, Any]) -> list[str]:
    """What the reader must not conclude, in sentences that depend on the figures."""
    settings, arms = report.get("settings") or {}, report["arms"]
    said = []
    if settings.get("proposer", "scripted") == "scripted":
        planted = ""
        if "expert_in_candidates" in settings and "candidates" in settings:
            planted = (
                f": a right command is among its {settings['candidates']} proposals with "
                f"probability {settings['expert_in_candidates']}"
            )
        said.append(
            f"The proposer is a script, not a language model{planted}; progress notes and "
            "reasons were written by truthful hand-made rules. The figures show that the parts "
            "work together on these games, not how much your agent would gain."
        )
    for name in ("first", "shuffled"):
        compared = (arms.get("critic") or {}).get("minus", {}).get(name)
        if compared and not _above_zero(compared["ci95"]):
            said.append(
                f"This run does not show that the critic beats '{label(name).lower()}': the "
                f"paired difference is {_points(compared)}."
            )
    simpler = (arms.get("critic") or {}).get("minus", {}).get("success_only")
    if simpler and not _above_zero(simpler["ci95"]):
        below = simpler["ci95"][1] is not None and simpler["ci95"][1] < 0
        how = "is better than the critic" if below else "does about as well"
        said.append(
            f"On that one task, the success-only critic {how} (paired difference "
            f"{_points(simpler)}). Goals pay off when the question changes."
        )
    if settings.get("quick"):
        said.append("This was a quick run with little training: expect less than the full one.")
    return said


def terminal_table(report: Mapping[str, Any]) -> Group:
    """The arms, the goals and the offline verdict for a rich console."""
    parts: list[Table | Text] = []
    if report["arms"]:
        table = Table(title="Held-out games: which proposal to take", title_justify="left")
        for column in ("Arm", "Success", "95 %", "Episodes", "Steps", "minus first (points)"):
            table.add_column(column, justify="left" if column == "Arm" else "right")
        for name, arm in report["arms"].items():
            table.add_row(
                label(name),
                percent(arm["success"]),
                percent_interval(arm["ci95"]),
                str(arm["episodes"]),
                number(arm["mean_steps"], 1),
                _points(arm["minus"].get("first")),
                style="bold" if name == "critic" else None,
            )
        parts.append(table)
    if report["goals"]:
        kinds = report["goals"]["kinds"]
        table = Table(title="One critic, many goals: share reached", title_justify="left")
        table.add_column("Arm")
        for column in ("All goals", "95 %", *kinds):
            table.add_column(column, justify="right")
        for name, arm in report["goals"]["arms"].items():
            cells = [kinds[k]["arms"].get(name, {}).get("reached") for k in kinds]
            table.add_row(
                label(name),
                percent(arm["reached"]),
                percent_interval(arm["ci95"]),
                *(percent(cell) for cell in cells),
                style="bold" if name == "critic" else None,
            )
        parts.append(table)
    verdict = (report["offline"] or {}).get("verdict")
    if verdict:
        parts.append(Text("Offline, on held-out tasks: " + verdict["text"]))
    return Group(*parts)


def finite(value: Any) -> Any:
    """The same JSON value with None in place of NaN and infinities, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _range(ci: list[float | None]) -> str:
    return "no interval" if None in ci else f"95 % interval {percent_interval(ci)}"


def _above_zero(ci: list[float | None]) -> bool:
    return ci[0] is not None and ci[0] > 0


def _points(compared: Mapping[str, Any] | None) -> str:
    if not compared:
        return MISSING
    ci = compared["ci95"]
    value = number(100 * compared["difference"], 0, sign=True)
    return f"{value} {percent_interval(ci, sign=True)}"
