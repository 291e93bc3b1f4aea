"""Centre and scale each field's embeddings while learning; fold that into the first layer after.

Sentence embeddings share a large mean direction, and what tells two notes apart is small beside
it. Training on (x - mean_f) / scale_f is better conditioned and costs the published critic
nothing: W_f (x - m) / s = (W_f / s) x - (W_f / s) m, so the transform folds into kernel and bias.
Updates transform the embeddings and not the parameters: in bfloat16 the difference would cancel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from pgv_jax.critic.reader import Centres
from pgv_jax.data.table import Table
from pgv_jax.types import FIELDS, Batch


class Standard(NamedTuple):
    """One field's mean [D] and scale, a scalar: the root mean square of a centred entry."""

    mean: Any
    scale: Any


Standards = dict[str, Standard]


def standards_of(table: Table) -> Standards:
    """Mean and scale of each field, as the table tells them."""
    return {
        field: Standard(np.asarray(mean), scale)
        for field, mean, scale in zip(FIELDS, table.mean, np.asarray(table.scale), strict=True)
    }


def centres_of(table: Table) -> Centres | None:
    """Where the parts and thoughts of a table lie; None for one without known sentences."""
    if table.parts is None:
        return None
    thought = standards_of(table)["thought"]
    note, task = np.asarray(table.parts.part_mean)
    scales = np.asarray(table.parts.part_scale), np.asarray(thought.scale)[None]
    return Centres(note, task, thought.mean, *scales)


class Constants(NamedTuple):
    """What an update knows of a table beside its batches; arguments of the compiled programs, so
    that other data meet the same ones."""

    standards: Standards
    centres: Centres | None


def constants_of(table: Table) -> Constants:
    """The constants of a table, as numpy arrays."""
    return jax.tree.map(np.asarray, Constants(standards_of(table), centres_of(table)))


def standardized(batch: Batch, standards: Standards) -> Batch:
    """The batch with every embedding centred and scaled by its field's standard."""

    def of(x_BD: jax.Array, field: str) -> jax.Array:
        mean, scale = standards[field]
        return (x_BD - mean[None]) * (1 / scale)

    return batch._replace(
        task_ND=of(batch.task_ND, "task"),
        obs_BD=of(batch.obs_BD, "observation"),
        thought_BD=of(batch.thought_BD, "thought"),
        next_obs_BD=of(batch.next_obs_BD, "observation"),
        goal_BD=of(batch.goal_BD, "goal"),
        other_BD=None if batch.other_BD is None else of(batch.other_BD, "thought"),
    )


def folded(params: Any, standards: Standards) -> Any:
    """Parameters for raw embeddings that give what ``params`` give for standardised ones.

    On the host, since small programs would each be compiled. The next-note model reads raw
    embeddings at all times.
    """
    out = {}
    for name, head in params.items():
        if name == "m":
            out[name] = head
            continue
        head = dict(head)
        bias_EH = head["bias_0"]
        for field in FIELDS:
            if field in head:
                mean, scale = standards[field]
                kernel_EDH = np.asarray(head[field]["kernel"]) / scale
                bias_EH = bias_EH - np.einsum("d,edh->eh", mean, kernel_EDH)
                head[field] = {"kernel": kernel_EDH}
        out[name] = {**head, "bias_0": bias_EH}
    return out


def unfolded(params: Any, standards: Standards) -> Any:
    """The inverse of ``folded``: what to train on standardised embeddings from such parameters."""
    out = {}
    for name, head in params.items():
        if name == "m":
            out[name] = head
            continue
        head = dict(head)
        bias_EH = head["bias_0"]
        for field in FIELDS:
            if field in head:
                mean, scale = standards[field]
                kernel_EDH = np.asarray(head[field]["kernel"])
                bias_EH = bias_EH + np.einsum("d,edh->eh", mean, kernel_EDH)
                head[field] = {"kernel": kernel_EDH * scale}
        out[name] = {**head, "bias_0": bias_EH}
    return out
