"""Collecting a dataset: many episodes of one task, by processes side by side or by an API model.

Episodes are dealt into parts of a fixed size, each a JSONL file of its own in ``.NAME.parts``
beside the dataset; a part is played by one process and continued where it ends. The dataset is
written when all parts are whole, in the order of the plan and without what tells how they were
played (times, samples from the cache): its bytes depend on the plan and the model's answers alone,
not on the number of processes or on interruptions.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import lru_cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgv_jax.agents.agent import Agent
from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.errors import PgvError
from pgv_jax.files import write_json
from pgv_jax.rollout.plan import Plan, Policy
from pgv_jax.rollout.runner import MakeAgent, run_episodes
from pgv_jax.rollout.stopping import terminable
from pgv_jax.rollout.studies import behaviour_agents
from pgv_jax.tasks.base import TextEnv
from pgv_jax.types import Episode

if TYPE_CHECKING:
    from pgv_jax.data.episodes import DatasetSummary
    from pgv_jax.rollout.settings import RolloutConfig

PART = 25
"""Episodes of a part: what the bar moves by."""
OF_A_RUN = ("seconds", "cached")
"""Metadata that differ where the same episodes are played again."""
Report = Callable[[int], None]
Bar = Callable[[str, int], AbstractContextManager[Report]]


def silent(words: str, total: int) -> AbstractContextManager[Report]:
    """A bar that shows nothing."""
    return nullcontext(lambda done: None)


def collect(
    plan: Plan,
    out: Path | str,
    *,
    workers: int = 1,
    api: RolloutConfig | None = None,
    licence: str = "",
    overwrite: bool = False,
    bar: Bar = silent,
    say: Callable[[str], None] | None = None,
) -> DatasetSummary:
    """Play what is missing and write the dataset ``out``; the same call continues.

    ``api`` says how a model is reached and how many episodes it plays at once. A dataset of the
    same plan is left as it is.

    Raises:
        PgvError: ``out`` or its parts are of another plan, or episodes could not be played.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is played is kept.
    """
    # Here: workers import this module too, and tfds costs them seconds that they never use.
    from pgv_jax.data.episodes import dataset_info, is_dataset, write_dataset

    out = Path(out)
    parts = out.parent / f".{out.name}.parts"
    if is_dataset(out):
        held = dataset_info(out)["source"]
        if held == plan.source and not parts.exists():
            return _present(out)
        if held != plan.source and not overwrite:
            raise PgvError(
                f"{out} already holds another dataset ({held or 'imported'}); choose another "
                "--out, or --overwrite it."
            )
    elif out.exists() and any(out.iterdir()):
        raise PgvError(f"{out} exists and is not a dataset of pgv_jax; choose another --out.")
    _claim(plan, parts)
    dealt = _deal(plan, parts)
    with bar(f"playing {plan.task}", plan.episodes) as report:
        if plan.model is not None:
            _play_model(plan, dealt, parts, api, report, say)
        elif workers == 1:
            _play_here(plan, dealt, report, say)
        else:
            _play_beside(plan, dealt, workers, report, say)
    with bar("writing the dataset", plan.episodes) as report:
        summary = write_dataset(
            out,
            _counted(_collected(dealt), report),
            source=plan.source,
            licence=licence,
            overwrite=overwrite,
        )
    shutil.rmtree(parts)
    return summary


def _present(out: Path) -> DatasetSummary:
    """The summary of a dataset that is there."""
    from pgv_jax.data.episodes import DatasetSummary, dataset_info

    about = dataset_info(out)
    names = ("splits", "episodes", "steps", "tasks", "fingerprint", "source", "licence")
    return DatasetSummary(out, **{name: about[name] for name in names}, reused=True)


def _claim(plan: Plan, parts: Path) -> None:
    """Note the plan beside its parts, and refuse parts of another; it may only become longer."""
    asked = json.loads(json.dumps({**asdict(plan), "args": dict(plan.args)}, default=str))
    path = parts / "plan.json"
    if path.exists() and any(parts.glob("*.jsonl")):
        known = json.loads(path.read_text("utf-8"))
        for key, value in asked.items():
            if known.get(key, value) != value and key != "episodes":
                raise PgvError(
                    f"{parts} holds unfinished episodes with {key} = {known.get(key)!r}, and this "
                    f"call has {value!r}; repeat the earlier call, or remove that folder."
                )
    try:
        parts.mkdir(parents=True, exist_ok=True)
        write_json(path, asked)
    except OSError as error:
        raise PgvError(
            f"{parts.parent} cannot be written to ({error.strerror}); choose another --out."
        ) from None


Parts = dict[Path, list[EpisodeSpec]]
"""File of a part -> its episodes."""


def _deal(plan: Plan, parts: Path) -> Parts:
    """The parts of a plan; a model's episodes are one, for one process asks it."""
    specs = plan.specs()
    size = len(specs) if plan.model is not None else PART
    return {
        parts / f"part-{start // size:05}.jsonl": specs[start : start + size]
        for start in range(0, len(specs), size)
    }


def _whole(path: Path, specs: Sequence[EpisodeSpec]) -> bool:
    """Whether a part has a line for each of its episodes."""
    return path.exists() and path.read_bytes().count(b"\n") >= len(specs)


def _collected(dealt: Parts) -> Iterator[Episode]:
    """The episodes of all parts in the plan's order, without what differs from run to run."""
    for path, specs in dealt.items():
        found = {episode.episode_id: episode for episode in read_jsonl(path)}
        for spec in specs:
            yield _repeatable(found[spec.episode_id])


def _counted(episodes: Iterator[Episode], report: Report) -> Iterator[Episode]:
    for number, episode in enumerate(episodes, 1):
        yield episode
        report(number)


def _repeatable(episode: Episode) -> Episode:
    def without(metadata: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in metadata.items() if key not in OF_A_RUN}

    steps = tuple(replace(step, metadata=without(step.metadata)) for step in episode.steps)
    return replace(episode, steps=steps, metadata=without(episode.metadata))


@lru_cache(1)
def _shared_env(task: str, args: str) -> TextEnv:
    """One environment a process: some take a second to open."""
    return Plan(task, 1, json.loads(args)).env()


def _play_part(
    plan: Plan,
    path: Path,
    specs: Sequence[EpisodeSpec],
    told: Callable[[], None] = lambda: None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Play what a part lacks; returns how many episodes it has. ``told`` is called after each."""
    policy = Policy.parse(plan.policy)
    run_episodes(
        specs,
        lambda: _shared_env(plan.task, json.dumps(dict(plan.args), default=str)),
        behaviour_agents(plan.candidates, policy.expert_share),
        path,
        max_steps=plan.max_steps,
        progress=lambda done, total, episode: told(),
        say=say,
    )
    return len(specs)


def _play_here(plan: Plan, dealt: Parts, report: Report, say: Callable[[str], None] | None) -> None:
    done = 0
    for path, specs in dealt.items():
        done += len(specs) if _whole(path, specs) else _play_part(plan, path, specs, say=say)
        report(done)


def _play_beside(
    plan: Plan, dealt: Parts, workers: int, report: Report, say: Callable[[str], None] | None
) -> None:
    """Play the parts in processes; on an interruption they end the episodes under way."""
    todo = {path: specs for path, specs in dealt.items() if not _whole(path, specs)}
    done = plan.episodes - sum(len(specs) for specs in todo.values())
    report(done)
    if not todo:
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of running threads
    stop = context.Event()
    pool = ProcessPoolExecutor(
        min(workers, len(todo)), context, initializer=_begin_worker, initargs=(stop,)
    )
    try:
        with terminable():
            futures = [pool.submit(_work, plan, path, specs) for path, specs in todo.items()]
            for future in as_completed(futures):
                done += future.result()
                report(done)
    except KeyboardInterrupt:
        if say is not None:
            say("Stopping when the episodes under way have ended; again to stop at once.")
        raise
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


_stop: Any = None
"""In a worker: the event by which it is asked to stop."""


def _begin_worker(stop: Any) -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone, however it went."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def outlive() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=outlive, daemon=True).start()


def _work(plan: Plan, path: Path, specs: Sequence[EpisodeSpec]) -> int:
    def told() -> None:
        if _stop.is_set():
            raise PgvError("The collection was stopped.")

    return _play_part(plan, path, specs, told)


def _play_model(
    plan: Plan,
    dealt: Parts,
    parts: Path,
    api: RolloutConfig | None,
    report: Report,
    say: Callable[[str], None] | None,
) -> None:
    """Let an API model play, many episodes at once; finished samples and spend are in ``parts``."""
    from pgv_jax.rollout.models import open_model
    from pgv_jax.rollout.partner import open_partner
    from pgv_jax.rollout.settings import RolloutConfig

    assert plan.model is not None
    settings = api or RolloutConfig(client=plan.model)
    ((path, specs),) = dealt.items()
    model = open_model(settings, parts)
    partner = open_partner(settings.voice, plan.task, parts)
    try:
        run_episodes(
            specs,
            lambda: plan.env(partner),
            _model_agents(plan, settings, model.client),
            path,
            concurrency=settings.concurrency,
            max_steps=plan.max_steps,
            model_history=settings.history,
            progress=lambda done, total, episode: report(done),
            client=model,
            say=say,
        )
    finally:
        if partner is not None:
            partner.close()


def _model_agents(plan: Plan, settings: RolloutConfig, client: Any) -> MakeAgent:
    from pgv_jax.agents.propose import system_prompt
    from pgv_jax.rollout.models import choice_of

    choice = choice_of(settings, system_prompt("act_choice")) if settings.chooses else None

    def make(env: TextEnv, spec: EpisodeSpec) -> Agent:
        return Agent(
            client(env, spec),
            candidates=plan.candidates,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            repeat_penalty=1.0,
            correct=env.correct,
            choice=choice,
            tools=env.tools(),
        )

    return make
