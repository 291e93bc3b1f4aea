"""What was chosen, and the cases in which there is nothing to choose.

Apart from ``choose`` so that a run of TD alone loads no library for fitting probes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pgv_jax.config import Config, CriticConfig, TrainConfig
from pgv_jax.critic.heads import CriticSpec
from pgv_jax.objectives.base import Objective
from pgv_jax.recipe.summary import sentences
from pgv_jax.texts.templates import EPISODE

Params = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """What answers the outcome goals: ``record`` is the manifest's ``recipe``.

    ``experts`` are the parameters of the heads' outcome parts by head, None where TD answers;
    ``hidden`` are the widths of the networks in them. ``updates`` are those that TD's trials took,
    where TD won; the run takes as many at least.
    """

    record: dict[str, Any]
    experts: dict[str, Params] | None = None
    hidden: tuple[int, ...] = ()
    updates: int = 0

    def training(self, train: TrainConfig) -> TrainConfig:
        """How the run is trained: beside an expert, TD is stopped by its state goals alone."""
        if self.experts is None:
            return train.model_copy(update={"steps": max(train.steps, self.updates)})
        return train.model_copy(update={"select": "goals"})

    def attach(self, spec: CriticSpec, params: Params) -> tuple[CriticSpec, Params]:
        """The critic to publish: the trained one, with the experts where there are any."""
        if self.experts is None:
            return spec, params
        members = len(self.experts["q"]["bias"])
        spec = replace(spec, outcome_members=members, outcome_hidden=self.hidden)
        own = {name: {**params[name], "outcome": part} for name, part in self.experts.items()}
        return spec, {**params, **own}


def settled(config: Config) -> Choice | None:
    """TD, where it was asked for or is all that the configuration allows."""
    why = "it was asked for" if config.critic.recipe == "td" else _unfit(config)
    if why is None:
        return None
    return Choice(record_of(config.critic, config.objective, "td", why))


def record_of(
    critic: CriticConfig,
    objective: Objective,
    chosen: str,
    why: str = "",
    gains: Mapping[str, Mapping[str, float]] | None = None,
    fitted: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The manifest's ``recipe``: what was asked, chosen and tried, with margins, and in words."""
    record: dict[str, Any] = {
        "asked": critic.recipe,
        "q": critic.q,
        "chosen": chosen,
        "why": why,
        "gains": dict(gains or {}),
        # What an outcome goal's value is: the chance itself, or gamma to the steps left times it.
        "gamma": objective.gamma if chosen == "td" else 1.0,
        **(fitted or {}),
    }
    return {**record, "words": sentences(record)}


def _unfit(config: Config) -> str | None:
    """Why outcome goals cannot have an expert under this configuration, or None."""
    if not config.objective.bootstraps:
        return f"the objective {config.objective.name} has no other choice"
    if config.objective.head != "sigmoid":
        return "linear heads have no other choice"
    if config.texts.history == EPISODE:
        return "critics of whole episodes have no other choice"
    return None
