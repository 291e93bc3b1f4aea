"""Goal-conditioned IQL with n-step returns, for logs whose goals lie many steps ahead.

    y = gamma^j                where g holds in s_(t+j) for the first time and j <= k
    y = 0                      where the task ended at s_(t+k) without g
    y = gamma^k V(s_(t+k), g)  otherwise,   k = min(n, steps left in the episode)

The losses are those of ``iql``, of which n = 1 is this. Returns follow the logged actions as they
are (Sutton and Barto 2018, section 7.1, without importance weights, as in Hessel et al. 2018,
arXiv:1710.02298): with n > 1 Q leans towards the value of whoever played.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from pgv_jax.data.relabel import OUTCOME, SUCCESS_ID, Draw, GoalSpec, Index, facts, holds
from pgv_jax.objectives.iql import GCIQL


class NStepIQL(GCIQL):
    """GC-IQL whose targets look n steps ahead; see the module's formulas."""

    name: str = "n_step_iql"
    n: int = Field(3, ge=1, le=100, description="steps of a return, after which V is asked")

    def goal_spec(self, asked: GoalSpec) -> GoalSpec:
        """The configured goals; what is true of them is asked up to n steps ahead."""
        return replace(asked, facts=self.facts)

    def facts(
        self,
        index: Index,
        row: jax.Array,
        goal: jax.Array,
        kind: jax.Array,
        gamma: float,
        longest: int,
    ) -> Draw:
        """What ``relabel.facts`` tells, of s_(t+k) in place of s'; shape of ``row``.

        ``discount`` is gamma^j where the goal is first reached after j steps, else gamma^k.
        """
        now = facts(index, row, goal, kind, gamma, longest)
        episode = index.row_episode[row]
        end = index.episode_start[episode + 1] - 1
        is_outcome = kind == OUTCOME
        came_true = index.episode_success[episode] == (goal == SUCCESS_ID)

        steps = jnp.arange(1, self.n + 1).reshape(-1, *[1] * row.ndim)
        ahead = jnp.minimum(row[None] + steps, end[None])
        in_note = holds(index, ahead, goal[None], longest)
        held = jnp.where(is_outcome[None], (ahead == end[None]) & came_true[None], in_note)
        found = held.any(0)

        k = jnp.minimum(self.n, end - row)
        is_end = row + k == end
        over = is_end & (is_outcome | (index.episode_terminal[episode] == 1)) & ~found
        powers = jnp.asarray(gamma ** np.arange(self.n + 1), jnp.float32)
        power = powers[jnp.where(found, jnp.argmax(held, 0) + 1, k)]
        return now._replace(
            next_obs=index.row_obs[row + k],
            next_reached=found,
            discount=power * (1.0 - now.reached) * (1.0 - over),
        )
