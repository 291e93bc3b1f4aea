"""InversePRM: a process reward model from demonstrations (Choudhury 2025, arXiv:2502.10325).

    r(s, a) = q(s, a) - gamma q(s', a'),   r(s, a) = q(s, a) at the end of the task
    L = cross-entropy of sigmoid(r) with 1 for the expert's steps and 0 for the policy's

No reward is read. The gradient flows through both q. q is the head's raw output, under bounded
heads the logit of the published value: a difference of two numbers in [0, 1] could never be sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from pgv_jax.data.examples import Example
from pgv_jax.errors import PgvError
from pgv_jax.objectives.base import ExampleObjective, PerEpisode
from pgv_jax.objectives.losses import Metrics, cross_entropy
from pgv_jax.texts.templates import SUCCESS, History
from pgv_jax.types import Batch, Episode, Predictions


class InversePRM(ExampleObjective):
    """A process reward model of an expert against a policy; see the module's formulas."""

    heads = ("q",)
    other = "next"
    reads_outcome = False
    plays = "expert"

    name: str = "inverse_prm"
    next_thought: Literal["policy", "logged"] = Field(
        "policy", description="a' of expert steps, metadata.policy_thought or logged"
    )

    @property
    def asks_policy(self) -> bool:
        """Under ``next_thought=policy``."""
        return self.next_thought == "policy"

    def loss(self, predictions: Predictions, batch: Batch) -> tuple[jax.Array, Metrics]:
        """The label of a step, 1 for the expert's, stands in ``batch.target_B``."""
        label_B, has_next_B, next_q_EB = batch.target_B, batch.has_other_B, predictions.other_q_EB
        assert label_B is not None and has_next_B is not None and next_q_EB is not None
        reward_EB = predictions.q_EB - self.gamma * jnp.where(has_next_B[None], next_q_EB, 0.0)
        loss = cross_entropy(reward_EB, jnp.broadcast_to(label_B, reward_EB.shape)).mean()
        expert_B = label_B > 0.5
        metrics = {
            "loss": loss,
            "q_loss": loss,
            "right": ((reward_EB.mean(0) > 0) == expert_B).mean(dtype=jnp.float32),
            "expert": expert_B.mean(dtype=jnp.float32),
        }
        return loss, metrics

    def targets(self, episodes: Sequence[Episode], history: History) -> PerEpisode:
        """Labels: 1 for steps of episodes with ``metadata["expert"]``, 0 for the others.

        ``other`` is a', a thought of the policy in s': the next logged one at the policy's steps,
        the next step's ``metadata["policy_thought"]`` at an expert's. "logged" takes the expert's
        own next thought there: the loss then lowers q of what it raises, and where both act well
        now and then it ranks the expert's choice last. The last step of a task that ended has none;
        the last step of a log that was cut has no a' and is left out.
        """
        made: PerEpisode = []
        for episode in episodes:
            expert = bool(episode.metadata.get("expert"))
            own = []
            for t, step in enumerate(episode.steps):
                is_last = t + 1 == len(episode.steps)
                if is_last and not episode.is_terminal:
                    continue
                other = None if is_last else episode.steps[t + 1].thought
                if expert and not is_last and self.next_thought == "policy":
                    other = _policy_thought(episode, t + 1)
                label = float(expert)
                own.append(
                    Example(t, step.thought, SUCCESS, label, other=other, group=int(not expert))
                )
            made.append(own)
        for is_expert, who in ((True, "expert"), (False, "policy")):
            if not any(p and (p[0].group == 0) == is_expert for p in made):
                raise PgvError(
                    "InversePRM compares an expert's steps with a policy's, but no episode is the "
                    f"{who}'s; an expert's episodes carry metadata {{\"expert\": true}}, others do "
                    "not."
                )
        return made


def _policy_thought(episode: Episode, t: int) -> str:
    thought = episode.steps[t].metadata.get("policy_thought")
    if not isinstance(thought, str):
        raise PgvError(
            f"Step {t} of expert episode '{episode.episode_id}' has no metadata.policy_thought, "
            "which objective.next_thought=policy reads; `pgv iterate inverse_prm` writes it where "
            "the expert is a client."
        )
    return thought
