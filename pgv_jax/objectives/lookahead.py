"""Self-taught lookahead: fit the values that a search backed up (Mendes & Ritter 2025).

    V(s, g)          <-  gamma max_a V_k(s'_a, g)
    Q(s, thought, g) <-  gamma V_k(s', g) of the thought's own s'

arXiv:2503.02878. V_k is the value under which the search was made; its backups are examples
(``targets``), and each refit starts from new parameters. The paper fits V alone; Q is fitted beside
it, so that a critic can choose where nothing can be tried out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
from pydantic import Field

from pgv_jax.data.examples import Example
from pgv_jax.errors import PgvError
from pgv_jax.objectives.base import ExampleObjective, PerEpisode
from pgv_jax.objectives.losses import Metrics
from pgv_jax.objectives.regression import regression
from pgv_jax.texts.templates import History, sentences
from pgv_jax.types import Batch, Episode, Predictions


class Lookahead(ExampleObjective):
    """Regression on a search's backups; see the module's formulas."""

    reads_outcome = False
    plays = "search"

    name: str = "lookahead"
    hindsight: int = Field(0, ge=0, description="goals beside success that the search backs up")

    @property
    def state_goals(self) -> int:
        """``hindsight`` sentences an expansion."""
        return self.hindsight

    def loss(self, predictions: Predictions, batch: Batch) -> tuple[jax.Array, Metrics]:
        """Regression of both heads on the backups."""
        return regression(predictions, batch, head=self.head)

    def targets(self, episodes: Sequence[Episode], history: History) -> PerEpisode:
        """Backups of a search (Mendes & Ritter 2025, arXiv:2503.02878).

        Expanded steps carry ``metadata["expanded"]`` and, in each candidate's ``scores``, the value
        of its successor by goal: y = gamma * the best of them for V, gamma * its own for Q. A goal
        that holds in the step's own note has V = 1.
        """
        made: PerEpisode = []
        for episode in episodes:
            own = []
            for t, step in enumerate(episode.steps):
                if not step.metadata.get("expanded"):
                    continue
                held = set(sentences(step.observation))
                for goal in dict.fromkeys(g for c in step.candidates for g in c.scores):
                    scored = [
                        (c.thought, c.scores[goal]) for c in step.candidates if goal in c.scores
                    ]
                    best = 1.0 if goal in held else self.gamma * max(score for _, score in scored)
                    own += [
                        Example(t, thought, goal, self.gamma * y, best) for thought, y in scored
                    ]
            if any(not math.isfinite(example.target) for example in own):
                raise PgvError(
                    f"A candidate of episode '{episode.episode_id}' has a value that is not "
                    "finite; search again with another critic."
                )
            made.append(own)
        if not any(made):
            raise PgvError(
                "No step of the data was expanded by a search; make such data with "
                "`pgv iterate lookahead`."
            )
        return made
