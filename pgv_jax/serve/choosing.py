"""The critic's say in one request: an order of the candidates, or the reason why there is none."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgv_jax.data.importers.conversation.asking import Conversation
from pgv_jax.errors import PgvError
from pgv_jax.guide.choice import Choice
from pgv_jax.guide.guide import Guide
from pgv_jax.serve.options import Ask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ruling:
    """``order``: the candidates' numbers, best first; the given order where ``fallback`` says why.

    ``choice`` is what the critic said, None where it was not heard.
    """

    order: tuple[int, ...]
    choice: Choice | None
    fallback: str
    seconds: float

    @property
    def value(self) -> float | None:
        """The utility of the first in order, where the critic was heard."""
        return None if self.choice is None else float(self.choice.utility[self.order[0]])


async def rule(
    guide: Guide, conversation: Conversation, candidates: Sequence[Any], ask: Ask
) -> Ruling:
    """Ask the critic; whatever goes wrong, the first candidate comes first."""
    started = time.perf_counter()
    given = tuple(range(len(candidates)))
    choice, why = None, ""
    try:
        async with asyncio.timeout(ask.deadline):
            choice = await guide.achoose(
                conversation, candidates, goals=ask.goals, weights=ask.weights, task=ask.task
            )
    except TimeoutError:
        why = "deadline"
    except PgvError as error:
        why = "unreadable"
        log.warning("The critic could not read a request: %s", error)
    except Exception as error:  # the show goes on unguided, whatever broke
        why = "critic_failed"
        log.exception("The critic failed, and the first candidate is passed on: %s", error)
    if choice is not None:
        why = doubted(choice, ask)
    order = given if why or choice is None else tuple(choice.order)
    return Ruling(order, choice, why, time.perf_counter() - started)


def doubted(choice: Choice, ask: Ask) -> str:
    """ "doubt" where the critic's choice is beyond a limit of the request, else ""."""
    doubt = choice.doubt
    for found, most in (
        (doubt.distance, ask.max_distance),
        (doubt.disagreement, ask.max_disagreement),
    ):
        if found is not None and most is not None and not np.isnan(found) and found > most:
            return "doubt"
    return ""
