"""Self-contained pages: one file, no script, no request, readable on a phone and in the dark.

Everything that comes from data is escaped by jinja2; charts are inline SVG made here. The page's
own content security policy forbids it to load anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pgv_jax.report import columns, wording
from pgv_jax.report.pages import plots
from pgv_jax.report.pages.transcript import tell


def render(template: str, **context: Any) -> str:
    """Render a page of ``templates/``; an unknown variable in a template is an error."""
    return _environment().get_template(template).render(**context)


def arms_chart(arms: Mapping[str, Any]) -> Markup | None:
    """The forest plot of the arms' success."""
    return plots.forest(
        [(name, arm["success"], arm["ci95"]) for name, arm in arms.items()],
        "episodes finished (95 % interval by game)",
    )


def goals_chart(goals: Mapping[str, Any]) -> Markup | None:
    """Bars by kind of goal, for the arms that played every kind."""
    kinds = goals.get("kinds") or {}
    arms = {
        name: [
            (kind["arms"][name]["reached"], kind["arms"][name]["ci95"]) for kind in kinds.values()
        ]
        for name in goals.get("arms", {})
        if all(name in kind["arms"] for kind in kinds.values())
    }
    return plots.goal_bars(list(kinds), arms)


def auc_chart(health: Mapping[str, Any]) -> Markup | None:
    """AUC by step of every scorer that was judged."""
    section = health.get("auc") or {}
    if not section.get("testable"):
        return None
    names = {name: entry["by_step"] for name, entry in section["scorers"].items()}
    names.pop("step_index" if "constant" in names else "", None)  # both are 1/2 at a fixed step
    crowd = ("length_only", "monte_carlo_regression", "task_only", "tf_idf", "tf_idf_task")
    for name in crowd:  # they are in the table
        names.pop(name, None)
    return plots.auc_by_step(names)


def reliability_chart(health: Mapping[str, Any]) -> Markup | None:
    """Reliability of the critic's scores: against gamma^steps-to-success where gamma is known."""
    section = health.get("calibration") or {}
    if not section.get("testable"):
        return None
    target = "discounted" if "discounted" in section else "success"
    wanted = ("critic", "monte_carlo", "logistic_regression")
    curves = {name: section[target][name]["bins"] for name in wanted if name in section[target]}
    outcome = (
        "mean of \u03b3^(steps to success)" if target == "discounted" else "share that succeeded"
    )
    return plots.reliability(curves, outcome)


def likelihood_chart(health: Mapping[str, Any]) -> Markup | None:
    """Reliability of the scores as likelihoods of success, before and after calibration."""
    section = health.get("calibration") or {}
    if not section.get("testable"):
        return None
    wanted = ("critic", "critic_calibrated", "logistic_regression")
    curves = {
        name: section["success"][name]["bins"] for name in wanted if name in section["success"]
    }
    return plots.reliability(curves, "share that succeeded", "likelihood")


def goal_chart(health: Mapping[str, Any]) -> Markup | None:
    """Reliability of the scores of state goals against gamma^steps, before and after."""
    section = health.get("goal_calibration") or {}
    if not section.get("testable"):
        return None
    curves = {
        name: section[name]["bins"] for name in ("critic", "critic_calibrated") if name in section
    }
    return plots.reliability(curves, "mean of \u03b3^(steps to the goal)", "goal-reliability")


def curve_chart(health: Mapping[str, Any]) -> Markup | None:
    """AUC by the number of training tasks, where the curve was asked for."""
    section = health.get("curve") or {}
    return plots.data_curve(section["points"]) if section.get("testable") else None


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pgv_jax.report.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = ("calibrator", "number", "percent", "interval", "percent_interval", "seconds")
    for name in (*words, "p_value", "setting", "unbroken"):
        environment.filters[name] = getattr(wording, name)
    for name in ("label", "explanation", "score_explanation"):
        environment.filters[name] = getattr(columns, name)
    charts: dict[str, Callable[..., Markup | None]] = {
        "arms_chart": arms_chart,
        "goals_chart": goals_chart,
        "auc_chart": auc_chart,
        "reliability_chart": reliability_chart,
        "likelihood_chart": likelihood_chart,
        "goal_chart": goal_chart,
        "curve_chart": curve_chart,
        "learning_chart": plots.learning_curve,
    }
    environment.globals.update({name: plots.or_sentence(draw) for name, draw in charts.items()})
    environment.globals.update(tell=tell)
    return environment
