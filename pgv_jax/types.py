"""The nouns of the project: episodes on the host, batches and predictions on a device.

THE key of dimension letters, used as suffixes of array names everywhere:

====  =======================================
B     steps in a batch
T     steps in an episode
E     members of the Q ensemble
D     width of an embedding
H     width of a hidden layer
N     candidate thoughts
G     goals
K     known sentences
L, M  sentences of a note, of a task
S     logical shards of the data
U     distinct texts
====  =======================================

This module imports neither jax nor numpy, so that reading logs stays light.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    import jax

FIELDS = ("task", "observation", "thought", "goal")
"""The texts that a critic reads; each is embedded by itself. V reads all but ``thought``."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A thought that was proposed at a step, and what is known of it.

    ``scores`` maps a goal's text (or a head's name) to the number that the critic gave.
    ``correct`` is known only where a simulator or an annotator tells; selection never reads it.
    """

    thought: str
    action: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    correct: bool | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One agent turn (RLDS step): what it saw, what it thought, what it sent to the environment.

    ``metadata`` holds JSON values only (tokens, cost, the raw messages an importer keeps).
    """

    observation: str
    thought: str
    action: str
    reward: float | None = None
    candidates: tuple[Candidate, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Episode:
    """A whole attempt at a task (RLDS episode).

    ``success`` is three-valued: True, False or None (unknown). ``score`` is in [0, 1] where known.
    ``is_terminal`` says that the *task* ended after the last step; a log that merely stops
    (step limit, unknown end) is not terminal, and values are bootstrapped through its end. Unless
    told, an episode is terminal where its outcome (success or score) is known.
    """

    episode_id: str
    task_id: str
    task: str
    steps: tuple[Step, ...]
    final_observation: str
    success: bool | None = None
    score: float | None = None
    is_terminal: bool = None  # type: ignore[assignment]  # __post_init__ decides
    split: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Decide whether the episode is terminal, where nobody said."""
        if cast("bool | None", self.is_terminal) is None:
            known = self.success is not None or self.score is not None
            object.__setattr__(self, "is_terminal", known)


class Batch(NamedTuple):
    """Relabeled steps on the device. Embeddings are [B, D], facts are [B * G].

    ``task_ND`` holds distinct tasks and ``task_B`` says which is step i's, so that each is
    projected once; with ``task_B`` None there is one a step.

    With G goals a step, step i meets the goals i .. i + G - 1 of its shard's part of the batch, and
    the facts are in that order; G = 1 is the plain batch.

    ``reached`` is r(s, g): the goal holds in the observation. ``next_reached`` is r(s', g).
    ``discount`` multiplies V(s', g): gamma, or 0 where the goal is reached or the task ended.
    ``monte_carlo`` is gamma^(steps left) * success for outcome goals, NaN where not defined.
    ``kind`` is the index into ``GOAL_KINDS``. ``weight`` is 0 where nothing is known (an outcome
    goal met by a step of unknown outcome), else 1.

    ``other_BD`` to ``value_B`` are of examples alone (``data.examples``): a second thought, whether
    there is one, Q's target and V's (NaN: none). ``parts_KD``, raw, are the table's known
    sentences, those of notes before those of tasks alone; they and ``scenes`` stand in batches of
    a table that was built with parts.
    """

    task_ND: jax.Array
    task_B: jax.Array | None
    obs_BD: jax.Array
    thought_BD: jax.Array
    next_obs_BD: jax.Array
    goal_BD: jax.Array
    reached_B: jax.Array
    next_reached_B: jax.Array
    discount_B: jax.Array
    monte_carlo_B: jax.Array
    kind_B: jax.Array
    weight_B: jax.Array
    other_BD: jax.Array | None = None
    has_other_B: jax.Array | None = None
    target_B: jax.Array | None = None
    value_B: jax.Array | None = None
    parts_KD: jax.Array | None = None
    scenes: Scenes | None = None


class Scenes(NamedTuple):
    """What the next-note model reads of a batch's steps and is to predict; see ``data.next_notes``.

    ``now_BL``, ``next_BL`` and ``task_BM`` are rows of the batch's ``parts_KD``, padded with -1.
    The last two are facts of each step and its own goal as in ``Batch``, one step ahead.
    """

    now_BL: jax.Array
    next_BL: jax.Array
    task_BM: jax.Array
    end_B: jax.Array
    whole_B: jax.Array
    reached_B: jax.Array
    next_reached_B: jax.Array


class Predictions(NamedTuple):
    """What the networks say about a batch: logits for bounded heads, values for linear ones.

    B here counts the triples, B * G.

    ``q_target_EB`` comes from the slow copy, ``next_v_B`` is V(s', g) of the critic itself;
    objectives say where gradients stop. ``other_q_EB`` is Q of the second thought, for objectives
    that compare two (``Objective.other`` says at which observation).
    """

    q_EB: jax.Array
    v_B: jax.Array
    q_target_EB: jax.Array
    next_v_B: jax.Array
    other_q_EB: jax.Array | None = None


GOAL_KINDS = ("current", "future", "random", "outcome")
