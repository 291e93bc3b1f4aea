"""What the figures of a health report amount to, in words.

A critic "adds" something in a test when the interval of its difference to the *strongest* simple
baseline lies above 0. Nothing here looks at a figure without its interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgv_jax.report.columns import named
from pgv_jax.report.wording import interval, number, percent, percent_interval

CRITIC = "critic"
SIMPLE = (
    "constant",
    "step_index",
    "length_only",
    "logistic_regression",
    "monte_carlo_regression",
    "task_only",
    "tf_idf",
    "tf_idf_task",
    "random",
    "first",
)
"""Baselines that need no critic to be trained."""

TASK_ONLY = ("task_only", "tf_idf_task")
"""Those that read the task alone: the same score at every step and for every thought."""

OFTEN = 0.2
"""Share of decisions that rewording changes from which on the verdict asks for the logs' words."""

LEADS = {
    "yes": "The critic knows something that simple baselines do not.",
    "mixed": "The critic is above simple baselines in one test and below them in another.",
    "no": "The critic is not shown to add anything to simple baselines.",
    "not testable": "These data cannot show whether the critic adds anything.",
}


def verdict(report: Mapping[str, Any]) -> dict[str, Any]:
    """Sum up the tests ``auc`` and ``top1`` of a report: ``{"adds", "text", "lines", "reasons"}``.

    ``adds`` is yes, mixed, no or not testable; each reason names its test, the baseline that the
    critic was held against, and the paired difference with its interval.
    """
    reasons = [
        reason
        for test, name in (("auc", "mean"), ("top1", "top1"))
        if (reason := _reason(test, name, report[test])) is not None
    ]
    found = {reason["adds"] for reason in reasons}
    if not reasons:
        adds = "not testable"
    elif "yes" in found:
        adds = "mixed" if "worse" in found else "yes"
    else:
        adds = "no"
    said = [LEADS[adds], *(_say(reason, report) for reason in reasons)]
    said += [
        f"{what} is not testable: {report[test]['why']}."
        for test, what in (("auc", "The AUC at fixed steps"), ("top1", "Top-1 among candidates"))
        if not report[test]["testable"]
    ]
    said += _steps(report) + _thoughts(report) + _alike(report) + _rewording(report)
    said += _choices(report) + _likelihood(report) + _state_goals(report)
    return {"adds": adds, "text": " ".join(said), "lines": said, "reasons": reasons}


def _reason(test: str, key: str, section: Mapping[str, Any]) -> dict[str, Any] | None:
    if not section["testable"]:
        return None
    scorers = section["scorers"]
    simple = [name for name in SIMPLE if name in scorers and scorers[name][key] is not None]
    if not simple:
        return None
    best = max(simple, key=lambda name: scorers[name][key])
    difference = scorers[best]["critic_minus"]
    low, high = difference["ci95"]
    adds = "no"
    if low is not None and low > 0:
        adds = "yes"
    elif high is not None and high < 0:
        adds = "worse"
    return {
        "test": test,
        "critic": scorers[CRITIC][key],
        "critic_ci95": scorers[CRITIC]["ci95"],
        "baseline": best,
        "baseline_value": scorers[best][key],
        "difference": difference["difference"],
        "ci95": difference["ci95"],
        "adds": adds,
    }


def _say(reason: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    name = named(reason["baseline"])
    if reason["test"] == "auc":
        return (
            "At fixed steps it tells later success from failure with AUC "
            f"{number(reason['critic'])} {interval(reason['critic_ci95'])}; the best simple "
            f"baseline ({name}) has {number(reason['baseline_value'])}: a difference of "
            f"{number(reason['difference'], sign=True)} {interval(reason['ci95'], sign=True)}."
        )
    return (
        f"It puts a correct candidate first in {percent(reason['critic'])} "
        f"{percent_interval(reason['critic_ci95'])} of {report['top1']['decisions']:,} decisions; "
        f"the best simple baseline ({name}) in {percent(reason['baseline_value'])}: a difference "
        f"of {number(100 * reason['difference'], 0, sign=True)} points "
        f"{percent_interval(reason['ci95'], sign=True)}."
    )


def _likelihood(report: Mapping[str, Any]) -> list[str]:
    section = report["calibration"]
    if not section["testable"]:
        return []
    target = "discounted" if "discounted" in section else "success"
    skill = section[target][CRITIC]["skill"]
    if skill["value"] is None:  # every outcome is the same
        return []
    low, high = skill["ci95"]
    what = "gamma^steps-to-success" if target == "discounted" else "the chance of success"
    value, ci = number(skill["value"], sign=True), interval(skill["ci95"], sign=True)
    shown = f"(Brier skill {value} {ci})"
    if low is not None and low > 0:
        return [f"Read as {what}, its scores are better than a constant {shown}."]
    if high is not None and high < 0:
        return [f"Read as {what}, its scores are worse than a constant {shown}: only rank by them."]
    return [f"Read as {what}, its scores cannot be told from a constant {shown}."]


def _steps(report: Mapping[str, Any]) -> list[str]:
    """Whether the AUC hangs on more than which tasks are easy, the same at each step."""
    scorers = report["auc"].get("scorers", {})
    blind = [name for name in TASK_ONLY if name in scorers and scorers[name]["mean"] is not None]
    if not blind:
        return []
    best = max(blind, key=lambda name: scorers[name]["mean"])
    gain = scorers[best]["critic_minus"]
    low = gain["ci95"][0]
    if low is not None and low > 0:
        return []
    shown = f"{number(gain['difference'], sign=True)} {interval(gain['ci95'], sign=True)}"
    return [
        f"It is not shown to know more than which tasks are easy: {named(best)}, which reads no "
        f"step, has an AUC of {number(scorers[best]['mean'])} (a difference of {shown})."
    ]


def _thoughts(report: Mapping[str, Any]) -> list[str]:
    """Whether the AUC hangs on the thoughts: without that, no choice between thoughts is helped."""
    scorers = report["auc"].get("scorers", {})
    if "shuffled_thoughts" not in scorers:
        return []
    loss = scorers["shuffled_thoughts"]["critic_minus"]
    low = loss["ci95"][0]
    shown = f"{number(loss['difference'], sign=True)} {interval(loss['ci95'], sign=True)}"
    if low is not None and low > 0:
        return [f"Thoughts matter for that AUC: {shown} over thoughts of other tasks."]
    return [
        f"Thoughts are not shown to matter for that AUC ({shown} over thoughts of other tasks): it "
        "may know the state, but not which thought is better."
    ]


def _alike(report: Mapping[str, Any]) -> list[str]:
    """Whether the critic prefers the same thoughts in every state."""
    section = report.get("alike", {})
    if not section.get("alike"):
        return []
    return [
        f"It ranks your candidates alike everywhere: over {section['states']} held-out states it "
        f"prefers the same one of two thoughts in {percent(section['agreement'])} of the cases. "
        "It may know which thoughts are good in general, but not what a state asks for."
    ]


def _rewording(report: Mapping[str, Any]) -> list[str]:
    """Whether the choice hangs on how the candidates are worded."""
    section = report.get("rewording", {})
    if not section.get("testable"):
        return []
    found = section["any"]
    line = (
        f'Said in other words (three neutral frames, such as "My next step: ..."), the same '
        f"candidates lead to another choice in {found['differ']} of {section['decisions']} "
        f"decisions among {section['among']} ({percent(found['share'])} "
        f"{percent_interval(found['ci95'])})"
    )
    low = found["ci95"][0]
    if low is not None and low > OFTEN:
        return [f"{line}: word steps at run time as your logs do."]
    return [f"{line}."]


def _choices(report: Mapping[str, Any]) -> list[str]:
    """What other critics would choose otherwise."""
    section = report.get("choices", {})
    return [
        f"In {found['differ']} of {section['decisions']} decisions among {section['among']} "
        f"({percent(found['share'])} {percent_interval(found['ci95'])}), {named(name)} would "
        "choose another thought."
        for name, found in section.get("critics", {}).items()
    ]


def _state_goals(report: Mapping[str, Any]) -> list[str]:
    """What it knows of goals that are sentences of the logs; not a part of ``adds``."""
    section = report.get("goals", {})
    if not section.get("testable"):
        return []
    scorers = section["scorers"]
    critic = scorers[CRITIC]
    line = (
        "It tells state goals that come true later from those that do not with AUC "
        f"{number(critic['auc'])} {interval(critic['ci95'])}"
    )
    simple = [name for name in ("popularity", "similarity") if name in scorers]
    if not simple:
        return [f"{line}."]
    best = max(simple, key=lambda name: scorers[name]["auc"])
    gain = scorers[best]["critic_minus"]
    return [
        f"{line}; the best simple baseline ({named(best)}) has "
        f"{number(scorers[best]['auc'])}: a difference of "
        f"{number(gain['difference'], sign=True)} {interval(gain['ci95'], sign=True)}."
    ]
