"""May the critic be used? One of three levels, from checks whose limits can be set.

``trust``                    its scores rank, and calibrated they may be read as likelihoods
``trust for ranking only``   they rank; as likelihoods they are no better than a constant
``do not use``               a check of ranking failed, could not be made, or a text leaks

Every check looks at the end of a 95 % interval, never at an estimate alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.report.columns import named
from pgv_jax.report.wording import interval, number

TRUST, RANKING, DO_NOT_USE = "trust", "trust for ranking only", "do not use"
LEVELS = (DO_NOT_USE, RANKING, TRUST)
"""From worst to best."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the checks demand.

    auc     the interval of the AUC at fixed steps must begin above this
    top1    the interval of the gain in top-1 over a random choice must begin above this
    worse   the interval of the difference to the strongest simple baseline must not end below this
    skill   the interval of the Brier skill, after calibration, must begin above this
    ece     the interval of the expected calibration error, after calibration, must end below this
    """

    auc: float = 0.55
    top1: float = 0.0
    worse: float = 0.0
    skill: float = 0.0
    ece: float = 0.1


def limits_of(pairs: Sequence[str]) -> Limits:
    """The limits with ``NAME=NUMBER`` changes; an unknown name or no number is a PgvError."""
    known = [field.name for field in fields(Limits)]
    limits = Limits()
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if name not in known or value != value:
            raise PgvError(f"Limit '{pair}' is not NAME=NUMBER with a name of {', '.join(known)}.")
        limits = replace(limits, **{name: value})
    return limits


def trust(report: Mapping[str, Any], limits: Limits | None = None) -> dict[str, Any]:
    """The level of a report with its verdict: ``{"level", "said", "checks", "limits"}``.

    A check is ``{"check", "passed", "text"}``; ``passed`` None: it could not be made.
    """
    limits = limits or Limits()
    ranking = [_leaks(report["leaks"]), _auc(report["auc"], limits), _top1(report["top1"], limits)]
    ranking += _beside(report["verdict"]["reasons"], limits)
    likelihood = _likelihood(report["calibration"], limits)
    ranks = all(check["passed"] is not False for check in ranking)
    tested = any(check["passed"] for check in ranking[1:3])
    if not (ranks and tested):
        level = DO_NOT_USE
    else:
        level = TRUST if all(check["passed"] for check in likelihood) else RANKING
    checks = [*ranking, *likelihood]
    said = _said(level, checks, tested)
    if level != DO_NOT_USE and not _ranks_thoughts(report):
        said += " No test shows that it ranks thoughts and not only states."
    return {
        "level": level,
        "said": said,
        "checks": checks,
        "limits": {field.name: getattr(limits, field.name) for field in fields(limits)},
    }


def enough(level: str, required: str) -> bool:
    """Whether ``level`` is at least ``required``."""
    return LEVELS.index(level) >= LEVELS.index(required)


def _said(level: str, checks: Sequence[Mapping[str, Any]], tested: bool) -> str:
    failed = [check["text"] for check in checks if check["passed"] is False]
    if level == TRUST:
        why = "it ranks, and its calibrated scores may be read as likelihoods"
    elif level == DO_NOT_USE and not tested and not failed:
        why = "no test of ranking had enough data"
    else:
        why = "; ".join(failed) or "its likelihoods could not be tested"
    return f"{level[0].upper()}{level[1:]}: {why}."


def _ranks_thoughts(report: Mapping[str, Any]) -> bool:
    """Whether top-1 was tested, or the AUC falls when thoughts are exchanged."""
    if report["top1"]["testable"]:
        return True
    exchanged = report["auc"].get("scorers", {}).get("shuffled_thoughts")
    low = exchanged["critic_minus"]["ci95"][0] if exchanged else None
    return low is not None and low > 0


def _check(name: str, passed: bool | None, text: str) -> dict[str, Any]:
    return {"check": name, "passed": passed, "text": text}


def _leaks(section: Mapping[str, Any]) -> dict[str, Any]:
    if not section["flagged"]:
        return _check("leaks", True, "no observation was found to give the outcome away")
    leak = section["leaks"][0]
    return _check(
        "leaks",
        False,
        f"observations give the outcome away: '{leak['text'][:80]}' stands in "
        f"{leak['episodes']:,} episodes, {leak['share']:.0%} of them {leak['outcome']}",
    )


def _auc(section: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    if not section["testable"]:
        return _check("auc", None, f"the AUC at fixed steps is not testable: {section['why']}")
    critic = section["scorers"]["critic"]
    low = critic["ci95"][0]
    passed = low is not None and low > limits.auc
    words = "begins above" if passed else "does not begin above"
    shown = f"{number(critic['mean'])} {interval(critic['ci95'])}"
    return _check(
        "auc", passed, f"the interval of its AUC at fixed steps, {shown}, {words} {limits.auc:g}"
    )


def _top1(section: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    if not section["testable"]:
        return _check("top1", None, f"top-1 among candidates is not testable: {section['why']}")
    gain = section["scorers"]["random"]["critic_minus"]
    low = gain["ci95"][0]
    passed = low is not None and low > limits.top1
    words = "begins above" if passed else "does not begin above"
    shown = f"{number(gain['difference'], sign=True)} {interval(gain['ci95'], sign=True)}"
    return _check(
        "top1", passed, f"its gain in top-1 over a random choice, {shown}, {words} {limits.top1:g}"
    )


def _beside(reasons: Sequence[Mapping[str, Any]], limits: Limits) -> list[dict[str, Any]]:
    checks = []
    for reason in reasons:
        high = reason["ci95"][1]
        worse = high is not None and high < limits.worse
        name = named(reason["baseline"])
        what = "AUC" if reason["test"] == "auc" else "top-1"
        words = "is below" if worse else "is not shown to be below"
        shown = f"{number(reason['difference'], sign=True)} {interval(reason['ci95'], sign=True)}"
        checks.append(
            _check(f"baseline {reason['test']}", not worse, f"its {what} {words} {name} ({shown})")
        )
    return checks


def _likelihood(section: Mapping[str, Any], limits: Limits) -> list[dict[str, Any]]:
    if not section["testable"]:
        return [_check("skill", None, f"calibration is not testable: {section['why']}")]
    scorers = section["success"]
    name = "critic_calibrated" if "critic_calibrated" in scorers else "critic"
    how = "calibrated" if name == "critic_calibrated" else "raw"
    figures = scorers[name]
    skill, ece_high = figures["skill"], figures["ece_ci95"][1]
    low = skill["ci95"][0]
    better = low is not None and low > limits.skill
    shown = f"{number(skill['value'], sign=True)} {interval(skill['ci95'], sign=True)}"
    words = "begins above" if better else "does not begin above"
    close = ece_high is not None and ece_high <= limits.ece
    within = "ends within" if close else "does not end within"
    error = f"{number(figures['ece'], 3)} {interval(figures['ece_ci95'], 3)}"
    said = f"the Brier skill of its {how} scores, {shown}, {words} {limits.skill:g}"
    if skill["value"] is None:
        said = "the Brier skill is not testable: every outcome is the same, so a constant is right"
    return [
        _check("skill", None if skill["value"] is None else better, said),
        _check(
            "ece",
            close,
            f"the interval of the calibration error of its {how} scores, {error}, {within} "
            f"{limits.ece:g}",
        ),
    ]
