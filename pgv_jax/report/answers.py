"""What a newcomer asks of a fit, answered from its health report: would it help, what would change
that, and what is not known.

Every sentence stands on a check or a count of the report; where the report could not test, the
answer is that it cannot be known, and why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pgv_jax.report.health.sections import Thresholds
from pgv_jax.report.health.trust import DO_NOT_USE, RANKING, TRUST
from pgv_jax.report.wording import interval, number
from pgv_jax.texts.templates import SUCCESS, History

UNKNOWN = "cannot be known"
FAR = 0.2
"""Share of held-out texts far from training from which on it is said."""
HOPELESS = 50
"""So many times the tasks that there are: more logs are then not what is missing."""


@dataclass(frozen=True)
class Answers:
    """``level`` of the health report or UNKNOWN; ``would`` is the verdict and ``because`` why.

    ``change`` says what would change it, ``tasks`` how many more that are about (None: a number
    does not say it), ``unknown`` what is not known, a sentence each.
    """

    level: str
    would: str
    because: list[str]
    change: str
    tasks: int | None
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Log:
    """What a log holds: counts of episodes and tasks, and the share of tasks that judge."""

    episodes: int
    successes: int
    failures: int
    tasks: int
    judging: float

    @property
    def known(self) -> int:
        """Episodes of known outcome."""
        return self.successes + self.failures

    @property
    def one_sided(self) -> bool:
        """No successes or no failures are known: nothing tells a good step from a bad one."""
        return not (self.successes and self.failures)


def answer(log: Log, report: Mapping[str, Any] | None, why: str = "") -> Answers:
    """The answers for a log and its health report, or None and ``why`` nothing was judged."""
    needs = Thresholds()
    told = _without_report(log, needs, why) if report is None else _by_report(log, report, needs)
    missing = log.episodes - log.known
    unknown = list(told.unknown)
    if missing and log.known:
        unknown.insert(
            0,
            f"How {missing:,} of {log.episodes:,} episodes ended: they teach nothing "
            "about success.",
        )
    unknown.append(
        "How an agent plays with its guidance: nothing was played, all of this is from logs."
    )
    return Answers(told.level, told.would, told.because, told.change, told.tasks, unknown)


def _without_report(log: Log, needs: Thresholds, why: str) -> Answers:
    """Logs that hold nothing to judge against."""
    if not log.known:
        return Answers(
            UNKNOWN,
            f"That cannot be known: none of the {log.episodes:,} episodes says whether it "
            "succeeded.",
            [
                "The critic learned where the texts lead, so you can ask it for goals in words. No "
                "verdict on success is possible."
            ],
            "Outcomes, and not more logs: name a table of them with --rewards, or give the rule "
            "that decides with --success.",
            None,
        )
    if log.one_sided:
        one, other = ("success", "failure") if log.successes else ("failure", "success")
        need = math.ceil(needs.episodes_per_class / log.judging)
        return Answers(
            UNKNOWN,
            f"That cannot be known: every known outcome is a {one} ({log.known:,} of "
            f"{log.known:,}), so nothing tells a good step from a bad one.",
            [],
            f"Episodes that end in {other}: about {_about(need):,} of them, so that "
            f"{needs.episodes_per_class} are among the {log.judging:.0%} of the tasks that judge.",
            None,
        )
    more = math.ceil(needs.tasks / log.judging) - log.tasks
    if more <= 0:
        change = "Outcomes of episodes of those tasks: give --rewards or --success."
        return Answers(UNKNOWN, f"That cannot be known: {why}", [], change, None)
    few = "one task" if log.tasks == 1 else f"{log.tasks:,} tasks"
    return Answers(
        UNKNOWN,
        f"That cannot be known: all {log.episodes:,} episodes are of {few}, and a critic is judged "
        "on tasks that it has not learned from.",
        [],
        f"{_more(_about(more))}, so that {needs.tasks} are among the {log.judging:.0%} that judge.",
        _about(more),
        ["How it does on tasks that it has not learned from."],
    )


def _by_report(log: Log, report: Mapping[str, Any], needs: Thresholds) -> Answers:
    verdict, auc, top1 = report["verdict"], report["auc"], report["top1"]
    level, because = verdict["level"], list(verdict["lines"])
    unknown = _not_known(report)
    if not (auc["testable"] or top1["testable"]):
        change, tasks = _to_be_testable(log, report, needs)
        would = f"That cannot be known yet: {auc['why']}."
        return Answers(UNKNOWN, would, because, change, tasks, unknown)
    if report["leaks"]["flagged"]:
        would = "No: observations give the outcome away, so every figure here is flattered."
        change = "Logs without those texts: leave them out of the observations and fit again."
        return Answers(DO_NOT_USE, would, because, change, None, unknown)
    would = {
        TRUST: "Probably: on tasks that are new to it, it tells what ends well, and its "
        "calibrated values may be read as chances.",
        RANKING: "Probably, for choosing: on tasks that are new to it, it tells what ends well; do "
        "not read its values as chances.",
        DO_NOT_USE: f"Not shown. {verdict['said']}",
    }[level]
    if level != DO_NOT_USE and not _knows_thoughts(report):
        would = (
            "Perhaps: on tasks that are new to it, it tells states that end well from states that "
            "do not. It is not shown to know which thought is better."
        )
    change, tasks = _to_be_better(log, report)
    return Answers(level, would, because, change, tasks, unknown)


def _knows_thoughts(report: Mapping[str, Any]) -> bool:
    exchanged = report["auc"].get("scorers", {}).get("shuffled_thoughts")
    low = exchanged["critic_minus"]["ci95"][0] if exchanged else None
    return bool(report["top1"]["testable"] or (low is not None and low > 0))


def _to_be_testable(
    log: Log, report: Mapping[str, Any], needs: Thresholds
) -> tuple[str, int | None]:
    """Tasks so that enough of them, of successes and of failures are among those that judge.

    By the log's share of the rarer outcome or that of the tasks that judge, whichever needs more.
    """
    held_out, each = report["data"], log.known / log.tasks
    known = held_out["episodes"] - held_out["unknown_outcome"]
    own = min(held_out["successes"], known - held_out["successes"])
    shares = [min(log.successes, log.failures) / log.known, *([own / known] if own else [])]
    rare = min(shares)
    judged = max(needs.tasks, math.ceil(round(needs.episodes_per_class / (rare * each), 6)))
    more = _about(max(1, math.ceil(round(judged / log.judging, 6)) - log.tasks))
    return (
        f"{_more(more)}. Judging needs {needs.tasks} held-out tasks and {needs.episodes_per_class} "
        f"episodes of each outcome among them. A task has {each:.1f} episodes, {rare:.0%} of them "
        f"have the rarer outcome, and {log.judging:.0%} of the tasks judge: that takes "
        f"{log.tasks + more:,} tasks.",
        more,
    )


def _to_be_better(log: Log, report: Mapping[str, Any]) -> tuple[str, int | None]:
    """What the first check that failed needs, by the estimate and its interval."""
    auc, limit = report["auc"], report["verdict"]["limits"]["auc"]
    judged = report["data"]["tasks"]
    checks = {check["check"]: check["passed"] for check in report["verdict"]["checks"]}
    scorers = auc.get("scorers", {})
    if checks.get("auc") is False:
        critic = scorers["critic"]
        what, found, low, bar = "its AUC", critic["mean"], critic["ci95"][0], limit
    elif not _knows_thoughts(report) and "shuffled_thoughts" in scorers:
        worth = scorers["shuffled_thoughts"]["critic_minus"]
        what, found, low, bar = (
            "the worth of its thoughts",
            worth["difference"],
            worth["ci95"][0],
            0,
        )
    elif report["verdict"]["level"] == TRUST:
        return "Nothing has to change: try it on your own tasks and compare (pgv compare).", None
    else:
        return (
            "More tasks alone will not mend what failed: see the checks below. Fit again when you "
            "have new logs.",
            None,
        )
    if found is None or low is None or found <= bar:
        return (
            f"More tasks of this kind will hardly change it: the estimate itself, {what} of "
            f"{number(found)}, is not above {bar:g}. Change what the critic reads: thoughts that "
            "give reasons, observations as short notes (pgv summarize), --config imagined.",
            None,
        )
    times = ((found - low) / (found - bar)) ** 2
    more = max(1, math.ceil(round(judged * (times - 1) / log.judging, 6)))
    if more > HOPELESS * log.tasks:
        return (
            f"More logs are not what is missing: with {what} at {number(found)} it would take over "
            f"{HOPELESS} times as many tasks as there are to tell that from {bar:g}.",
            None,
        )
    return (
        f"{_more(_about(more))}, if {what} stays at {number(found)}: its interval on "
        f"{judged:,} held-out tasks begins at {number(low)}, has to begin above {bar:g}, and "
        "narrows with the square root of the number of tasks.",
        _about(more),
    )


def _not_known(report: Mapping[str, Any]) -> list[str]:
    """What the report says it could not find out, a sentence each."""
    said = []
    exchanged = report["auc"].get("scorers", {}).get("shuffled_thoughts")
    if exchanged and not _knows_thoughts(report):
        gain = exchanged["critic_minus"]
        said.append(
            "Which of several thoughts is better in one state: with thoughts of other tasks in "
            f"their place it ranks as well ({number(gain['difference'], sign=True)} "
            f"{interval(gain['ci95'], sign=True)} AUC)."
        )
    if not report["top1"]["testable"]:
        said.append(f"How often its first choice is right: {report['top1']['why']}.")
    if not report["calibration"]["testable"]:
        said.append(f"Whether its values are chances: {report['calibration']['why']}.")
    if not report["goals"]["testable"]:
        said.append(f"Whether it knows state goals: {report['goals']['why']}.")
    distance = report["controls"]["distance"]
    if distance["testable"]:
        far = {name: entry["far"] for name, entry in distance["fields"].items()}
        many = [f"{share:.0%} of the {name}s" for name, share in far.items() if share > FAR]
        if many:
            said.append(
                f"Texts unlike those that it learned from: {' and '.join(many)} of the held-out "
                "tasks are further away than training tasks are from each other."
            )
    alarm = report["outcome_sum"]
    if alarm["testable"] and alarm["alarm"]:
        said.append(
            "How likely success is: its values of success and failure add up to "
            f"{number(alarm['mean'])}, so they are inflated."
        )
    return said


def _about(count: int) -> int:
    """Rounded up to two digits: an estimate says no more."""
    if count < 10:
        return count
    unit = 10 ** (len(str(count)) - 2)
    return -(-count // unit) * unit


def _more(count: int) -> str:
    return f"About {count:,} more task{'s' if count > 1 else ''}"


def five_lines(artifact: str, history: History, goal: str = SUCCESS) -> str:
    """The critic in a program: five lines of Python."""
    seen = (
        "what the agent sees now"
        if history == 0
        else f"what it sees now, after the last {history} turns: observation_text(episode, t, "
        f"{history})"
    )
    return "\n".join(
        [
            "from pgv_jax import ValueFunction",
            f'critic = ValueFunction.load("{artifact}")',
            f'observation = "..."  # {seen}',
            'thoughts = ["...", "..."]  # what your model proposes, two or more',
            f'best = thoughts[critic.q("TASK", observation, thoughts, ["{goal}"])[:, 0].argmax()]',
        ]
    )
