"""Observations as progress notes that a chat model writes: what the paper embeds, and goals need.

Hong et al. 2025 (arXiv:2505.18098) embed summaries of histories. Here a note is a few independent
simple sentences, one a line, because hindsight goals are sentences of later notes. A note is made
of the note before it, the action and the new observation: the cost of an episode grows with its
length, and a fact that still holds keeps its wording.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pgv_jax.agents.prompt import Prompt, ask
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Client, ClientError
from pgv_jax.rollout.models import ApiModel, open_model
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.rollout.stopping import Halted, Stop, interruptible
from pgv_jax.texts.templates import sentences, with_notes
from pgv_jax.types import Episode

PROMPT = "summary"
SENTENCES = 20
"""The most sentences that the prompt asks for."""
MAX_TOKENS = 1024

_LIST_MARK = re.compile(r"^(?:[-*\u2022]|\d+[.)])\s+")


@dataclass(frozen=True, slots=True)
class Summarizer:
    """Writes notes by ``client``, at temperature 0."""

    client: Client
    prompt: Prompt

    async def note(self, task: str, before: str, action: str, observation: str) -> str:
        """The note after ``action`` led to ``observation``: sentences, one a line.

        Raises ClientError where the model answers twice without a sentence.
        """
        messages = self.prompt.messages(
            task=task,
            note=before or "(nothing yet)",
            action=action or "(nothing yet)",
            observation=observation or "(nothing)",
            sentences=SENTENCES,
        )
        answer = await ask(
            self.client, messages, parse_note, seed=0, temperature=0.0, max_tokens=MAX_TOKENS
        )
        if answer.value is None:
            raise ClientError("empty", f"'{self.client.model}' wrote no note, twice in a row.")
        return answer.value

    async def episode(self, episode: Episode, stop: Stop | None = None) -> Episode:
        """The episode with notes in place of observations, which its metadata keep."""
        note, action, notes = "", "", []
        for step in episode.steps:
            if stop is not None:
                stop.check()
            note = await self.note(episode.task, note, action, step.observation)
            notes.append(note)
            action = step.action
        if stop is not None:
            stop.check()
        final = await self.note(episode.task, note, action, episode.final_observation)
        steps = tuple(
            replace(step, metadata={**step.metadata, "observation": step.observation})
            for step in episode.steps
        )
        about = {
            "notes": {"model": self.client.model, "prompt": self.prompt.version},
            "final_observation": episode.final_observation,
        }
        kept = replace(episode, steps=steps, metadata={**episode.metadata, **about})
        return with_notes(kept, [*notes, final])


def parse_note(text: str) -> str | None:
    """A model's answer as a note: its sentences, one a line, without list marks; None: it has none.

    A sentence that is said twice is kept once.
    """
    lines = (_LIST_MARK.sub("", line.strip()) for line in text.splitlines())
    found = [sentence for line in lines for sentence in sentences(line)]
    return "\n".join(dict.fromkeys(found)) or None


def summarize(
    episodes: Sequence[Episode],
    settings: RolloutConfig,
    folder: Path,
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[list[Episode], ApiModel]:
    """Write the notes of all episodes; returns them in order, and the model with what it spent.

    Of ``settings`` the client, its ``api``, ``budget``, ``prompts``, ``cache`` and ``concurrency``
    count. ``folder`` keeps answers and the ledger: the same call goes on where it stopped, and
    nothing is paid twice.

    Raises:
        PgvError: key, budget or host; or some episodes were not answered (the others are kept).
        KeyboardInterrupt: Ctrl-C, after the calls in flight.
    """
    if settings.client.partition(":")[0] == "scripted":
        raise PgvError(
            f"Notes are written by a chat model, '{settings.client}' is none; give openai:MODEL, "
            "anthropic:MODEL or google:MODEL."
        )
    prompt = Prompt.load(PROMPT, settings.prompts)
    model = open_model(settings, folder)
    assert isinstance(model, ApiModel)
    summarizer, stop = Summarizer(model.shared, prompt), Stop()

    async def run() -> tuple[dict[int, Episode], list[str]]:
        async with model:
            return await noted(episodes, summarizer, settings.concurrency, stop, progress)

    with interruptible(stop, say):
        found, failed = asyncio.run(run())
    if stop.cause is not None:
        raise stop.cause
    if failed:
        raise PgvError(
            f"{len(failed)} of {len(episodes)} episodes have no notes (first: {failed[0]}); run "
            "the same again to continue."
        )
    return [found[number] for number in range(len(episodes))], model


async def noted(
    episodes: Sequence[Episode],
    summarizer: Summarizer,
    concurrency: int,
    stop: Stop,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[int, Episode], list[str]]:
    """Write the notes of ``concurrency`` episodes at a time, until all are done or ``stop`` says.

    Returns the episodes with notes by number, and a sentence for each that failed.
    """
    found, failed = dict[int, Episode](), list[str]()
    queue = list(enumerate(episodes))[::-1]

    async def work() -> None:
        while queue and stop.cause is None:
            number, episode = queue.pop()
            try:
                found[number] = await summarizer.episode(episode, stop)
            except Halted:
                return
            except ClientError as error:
                if error.stops_run:
                    stop.because(error)
                failed.append(f"{episode.episode_id}: {error}")
                continue
            except Exception as error:  # the others end their calls, whatever broke
                stop.because(error)
                return
            if progress is not None:
                progress(len(found))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(queue))):
            group.create_task(work())
    return found, failed
