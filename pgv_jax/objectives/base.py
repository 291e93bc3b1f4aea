"""What an objective is: one frozen value with its name, options, loss, targets and goals.

Its fields are the options, the keys ``objective.KEY`` of a configuration. A new objective is one
file of this folder (docs/design.md, "Adding a thing").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from pgv_jax.data.examples import Example
from pgv_jax.texts.templates import History
from pgv_jax.types import Batch, Episode, Predictions

if TYPE_CHECKING:
    import jax

    from pgv_jax.data.relabel import GoalSpec
    from pgv_jax.objectives.losses import Metrics

PerEpisode = list[list[Example]]
"""One list of examples an episode, in the episodes' order."""


class Objective(BaseModel, ABC):
    """A named loss and its constants, learned from rows that are relabeled in hindsight.

    Subclasses give ``name`` a default: the name that a configuration calls them by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    heads: ClassVar[tuple[str, ...]] = ("q", "v")
    """What it trains: the optimizer is masked to them, and scoring with another is an error."""
    other: ClassVar[str] = ""
    """Where the second thought of an example is asked: at the step ("now"), at the one after it
    ("next") or nowhere ("")."""
    bootstraps: ClassVar[bool] = False
    """It backs up V over goals of all kinds. Then Q may be imagined (``critic.q``), and a probe may
    answer the outcome goals in its place (``critic.recipe``)."""

    name: str
    gamma: float = Field(0.95, gt=0, le=1, description="discount a step")
    head: Literal["sigmoid", "linear"] = Field("sigmoid", description="bounded or free values")
    polyak: float = Field(0.005, gt=0, le=1, description="rate of Q's slow copy, an update")

    @abstractmethod
    def loss(self, predictions: Predictions, batch: Batch) -> tuple[jax.Array, Metrics]:
        """Return the scalar loss and scalar metrics of arrays. Stops gradients where it must."""

    def goal_spec(self, asked: GoalSpec) -> GoalSpec:
        """How goals are drawn and what is true of them; ``asked`` is the configuration's."""
        return asked


class ExampleObjective(Objective):
    """An objective that reads examples, computed once from the episodes, in place of rows."""

    reads_outcome: ClassVar[bool] = True
    """False: its table is built of episodes without success, score and rewards, and no outcome of
    held-out tasks chooses the parameters."""
    plays: ClassVar[Literal["", "policy", "expert", "search"]] = ""
    """What `pgv iterate` makes its data of: the policy's play, the same beside an expert's, a
    search's backups. Empty: it is not iterated."""

    @abstractmethod
    def targets(self, episodes: Sequence[Episode], history: History) -> PerEpisode:
        """The examples of each episode; an empty list leaves the episode out.

        Reads no vector and no critic. Raises PgvError where the log lacks what it needs.
        """

    @property
    def asks_policy(self) -> bool:
        """It reads ``metadata.policy_thought``, the policy's thought at an expert's steps."""
        return False

    @property
    def state_goals(self) -> int:
        """Goals a step, beside success, that the examples are to name."""
        return 0
