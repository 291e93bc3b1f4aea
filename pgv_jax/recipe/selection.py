"""The choice: the linear probe, unless something wins more than its error over it.

The probe comes first; a network beside it, then TD on outcomes (by imagined Q, where the critic
imagines), each takes the place of what was chosen before it only by the cross-fitted likelihood
(``gain``) and the one-standard-error rule. State goals are TD's, or imagined Q's, in every case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.config import Config, CriticConfig
from pgv_jax.data.table import Table
from pgv_jax.learner.state import critic_spec
from pgv_jax.objectives.base import Objective
from pgv_jax.recipe.gain import gain, wins
from pgv_jax.recipe.outcome_choice import Choice, Params, record_of, settled
from pgv_jax.recipe.outcomes import FIELDS, Components, Lookup, Outcomes, components_of, outcomes_of
from pgv_jax.recipe.probe import Probe, fit_probe, refitted
from pgv_jax.recipe.residual import HIDDEN, Residual, fit_residual
from pgv_jax.recipe.trial import Trial, patience_of, td_trial, trial_updates
from pgv_jax.report.stats import Interval, rounded
from pgv_jax.texts.templates import FAILURE, SUCCESS
from pgv_jax.types import Episode

TRIALS = 3
"""Folds on which TD is tried; it is given up where it is behind by more than its error."""

Progress = Callable[[int], None]
Fitted = tuple[Components, Probe | Residual]


def choose(
    config: Config,
    splits: Mapping[str, Sequence[Episode]],
    tables: tuple[Table, Table | None] | None,
    lookup: Lookup,
    folder: Path,
    progress: Progress = lambda done: None,
) -> Choice:
    """Choose what answers the outcome goals, as ``config.critic.recipe`` asks.

    ``splits`` are the training and validation episodes; the probe is fitted on the tasks of both,
    since its folds hold tasks out by themselves. ``tables`` belong to them; without them TD is not
    tried. Its trials leave their scores in ``folder``; ``progress`` is told the updates done of
    ``updates(config, tables[0])``.
    """
    done = settled(config)
    if done is not None:
        return done
    critic, objective, seed = config.critic, config.objective, config.train.seed
    episodes = [episode for part in splits.values() for episode in part]
    outcomes = outcomes_of(episodes, lookup, config.texts.history, seed)
    if len(outcomes.folds) < 2:
        why = "too few tasks with known successes and failures"
        return Choice(record_of(critic, objective, "td", why))

    rows, components = outcomes.rows, components_of(outcomes, FIELDS)
    spec = critic_spec(critic, objective, outcomes.vectors["task"].shape[1])
    probe = fit_probe(outcomes, components)
    residual = fit_residual(outcomes, components, probe, spec, seed)
    tried = {
        "probe": gain(probe.crossfit_B, None, rows, seed),
        "network": gain(residual.crossfit_B, residual.anchor_B, rows, seed),
    }
    chosen, logit_B = "probe", probe.crossfit_B
    if wins(tried["network"]):
        chosen, logit_B = "network", residual.crossfit_B
    trials = None
    if critic.recipe == "auto" and tables is not None:
        trials = _Trials(config, splits["train"], tables, lookup, outcomes, folder, progress)
        found = trials.gain_over(logit_B)
        if found is not None:
            tried["td"] = found
            if wins(found):
                record = _record(critic, objective, "td", tried, outcomes, trials.record())
                return Choice(record, updates=trials.enough())
    v_components = components_of(outcomes, FIELDS[:-1])
    v_probe = fit_probe(outcomes, v_components)
    goals_2D = np.asarray(lookup([SUCCESS, FAILURE]), np.float32)
    told = trials.record() if trials else None
    record = _record(critic, objective, chosen, tried, outcomes, told)
    fitted: dict[str, Fitted] = {
        "q": (components, refitted(probe, outcomes, components)),
        "v": (v_components, refitted(v_probe, outcomes, v_components)),
    }
    if chosen == "network":
        v_residual = fit_residual(outcomes, v_components, v_probe, spec, seed)
        fitted = {"q": (components, residual), "v": (v_components, v_residual)}
    hidden = HIDDEN if chosen == "network" else ()
    return Choice(record, _experts(fitted, goals_2D), hidden)


def updates(config: Config, table: Table) -> int:
    """The updates that choosing takes at most, on the training table."""
    return TRIALS * trial_updates(config, table) if config.critic.recipe == "auto" else 0


@dataclass(frozen=True)
class _Trials:
    """TD on outcomes, fold by fold."""

    config: Config
    episodes: Sequence[Episode]
    tables: tuple[Table, Table | None]
    lookup: Lookup
    outcomes: Outcomes
    folder: Path
    progress: Progress
    done: list[Trial] = field(default_factory=list)

    @property
    def updates(self) -> int:
        """Updates that a trial is given."""
        return trial_updates(self.config, self.tables[0])

    def record(self) -> dict[str, Any] | None:
        """For the manifest: the updates given, where each trial was best, and whether it rested."""
        if not self.done:
            return None
        rested = [trial.converged for trial in self.done]
        return {
            "updates": self.updates,
            "best": [trial.step for trial in self.done],
            "converged": None if None in rested else all(rested),
        }

    def enough(self) -> int:
        """Updates by which every trial was at its best and had been looked at long enough."""
        rest = patience_of(self.config.train, self.updates) * self.config.train.eval_every
        return min(max(trial.step for trial in self.done) + rest, self.updates)

    def gain_over(self, logit_B: np.ndarray) -> Interval | None:
        """Gain over other cross-fitted logits on the training tasks of the folds tried.

        None where no fold has training tasks both in and out of it: too few to say.
        """
        rows = self.outcomes.rows
        own = {episode.task_id for episode in self.episodes}
        trained = np.asarray([task in own for task in rows.task_ids])
        td_B = np.full(len(rows), np.nan)
        found = None
        for k, (_, held_out) in enumerate(self.outcomes.folds[:TRIALS]):
            held_out = held_out[trained[held_out]]  # TD is stopped on the other split's tasks
            if len({rows.task_ids[i] for i in held_out}) in (0, len(own)):
                continue
            trial = td_trial(
                self.config,
                self.episodes,
                self.tables,
                self.lookup,
                self.outcomes,
                held_out,
                self.folder / f"fold-{k}",
                self._after(k * self.updates),
            )
            self.done.append(trial)
            td_B[held_out] = trial.logit_B
            judged = np.flatnonzero(~np.isnan(td_B))
            seed = self.config.train.seed
            found = gain(td_B[judged], logit_B[judged], rows.take(judged), seed)
            if found.high < 0:
                break
        return found

    def _after(self, begun: int) -> Progress:
        return lambda done: self.progress(begun + done)


def _experts(fitted: Mapping[str, Fitted], goals_2D: np.ndarray) -> dict[str, Params]:
    """Parameters of each head's ``OutcomeHead``, on raw embeddings."""
    experts: dict[str, Params] = {}
    for name, (components, found) in fitted.items():
        members = [components.unfold(weight_R[:, None]) for weight_R in found.weight_MR]
        shift_M1 = np.stack([bias for _, bias in members])
        expert: Params = {
            "goals": goals_2D,
            "bias": (found.bias_M[:, None] + shift_M1).astype(np.float32),
        }
        for text in components.fields:
            kernel_MD1 = np.stack([kernels[text] for kernels, _ in members])
            expert[text] = {"kernel": kernel_MD1.astype(np.float32)}
        if isinstance(found, Residual):
            expert["residual"] = found.params
        experts[name] = expert
    return experts


def _record(
    critic: CriticConfig,
    objective: Objective,
    chosen: str,
    tried: Mapping[str, Interval],
    outcomes: Outcomes,
    trials: dict[str, Any] | None,
) -> dict[str, Any]:
    gains = {name: _margin(found) for name, found in tried.items()}
    fitted = {
        "folds": len(outcomes.folds),
        "tasks": len(set(outcomes.rows.task_ids)),
        "steps": len(outcomes.rows),
        **({"trials": trials} if trials else {}),
    }
    return record_of(critic, objective, chosen, gains=gains, fitted=fitted)


def _margin(found: Interval) -> dict[str, Any]:
    return {
        "nats": rounded(found.value),
        "low": rounded(found.low),
        "high": rounded(found.high),
    }
