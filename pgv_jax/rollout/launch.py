"""A rollout as its configuration says: tasks, model, critic and strategy joined to episodes.

``OUT/episodes.jsonl`` holds the episodes, ``OUT/run.json`` what they were played with and how far
the run is, ``OUT/cache`` finished samples, ``OUT/ledger`` what was spent. A shard adds
``-I-of-N`` to the names of its own files; the cache is shared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pgv_jax.agents.agent import Agent, Decider
from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.agents.explore import RandomMoves
from pgv_jax.agents.foresight import PROMPT as NEXT_NOTE
from pgv_jax.agents.foresight import Foresight
from pgv_jax.agents.imagined_goals import SentenceIndex, training_sentences
from pgv_jax.agents.own_choice import PROMPT as OWN_CHOICE
from pgv_jax.agents.own_choice import OwnChoice
from pgv_jax.agents.prompt import Prompt
from pgv_jax.agents.propose import Choice
from pgv_jax.agents.rating import Rater
from pgv_jax.agents.refine import PROMPTS, RefineOptions, Refiner
from pgv_jax.agents.search.search_agent import search_values
from pgv_jax.agents.search.search_world import World
from pgv_jax.agents.select import NEEDS_SCORES
from pgv_jax.agents.strategies import GuidedAgent, strategy
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Client
from pgv_jax.rollout.models import ApiModel, Model, choice_of, open_model
from pgv_jax.rollout.partner import open_partner, without_voice
from pgv_jax.rollout.record import RunRecord, Shard, Watch, alone, bill, fingerprint
from pgv_jax.rollout.runner import EpisodeFile, Note, Progress, run_episodes
from pgv_jax.rollout.search_setup import search_agent
from pgv_jax.rollout.settings import FORESEEN, RolloutConfig, TaskConfig
from pgv_jax.rollout.studies import GOAL_STEPS, goals_asked
from pgv_jax.rollout.summarize import PROMPT as SUMMARY
from pgv_jax.rollout.summarize import Summarizer
from pgv_jax.rollout.tracing import open_tracing
from pgv_jax.tasks.base import TextEnv, env_class, make_env
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Episode
from pgv_jax.versions import versions_of

if TYPE_CHECKING:  # at run time where a critic is asked for: jax takes seconds to import
    from pgv_jax.critic.value import ValueFunction
    from pgv_jax.embed.encoder import Encoder

_PACKAGES = ("openai", "anthropic", "google-genai", "xllamacpp", "jax", "textworld")


class Rollout:
    """One run, or one shard of it: opened first, so that what is wrong is said before any call."""

    def __init__(self, settings: RolloutConfig, out: Path, shard: Shard | None = None):
        self.settings, self.out, self.shard = settings, out, shard or Shard()
        self.watch = Watch()
        without_voice(settings.task.args)
        self.partner = open_partner(
            settings.voice, settings.task.name, out, self.shard.suffix, self.shard.count
        )
        env = self._env()
        self.tools = tuple(env.tools())
        self.asks = "act_tools" if self.tools else "act"
        if self.tools:
            settings.check_tools()
        self.specs = list(self._specs(settings.task, env))
        if not self.specs:
            raise PgvError(
                f"Shard {self.shard.index}/{self.shard.count} has no tasks; there are fewer tasks "
                "than shards."
            )
        self.prompts = self._prompts()
        self.value, encoder = self._critic()
        self.index = self._sentence_index(encoder)
        self.ends = self._ends(encoder)
        self.model: Model = open_model(settings, out, self.shard.suffix, self.shard.count)
        traces = out / f"traces{self.shard.suffix}.jsonl"
        self.tracing = open_tracing(settings.tracing, traces, settings.arm)
        if self.tracing is not None:
            self.model.trace(self.tracing)
        self.note = self._note()
        self.path = out / f"episodes{self.shard.suffix}.jsonl"
        self.record = RunRecord(out / f"run{self.shard.suffix}.json", self.model.clean)

    def run(
        self, progress: Progress | None = None, say: Callable[[str], None] | None = None
    ) -> list[Episode]:
        """Play or continue; the record says at any time how far the run is.

        Raises what ended it early; the same call continues.
        """
        with alone(self.out, self.shard.suffix):
            self.record.claim(self._about())
            return self._play(progress, say)

    def _play(self, progress: Progress | None, say: Callable[[str], None] | None) -> list[Episode]:
        found = {episode.episode_id: episode for episode in EpisodeFile(self.path).episodes}
        self.watch.begin(found[s.episode_id] for s in self.specs if s.episode_id in found)

        def on_episode(done: int, total: int, episode: Episode) -> None:
            self.watch.episode(episode)
            if progress is not None:
                progress(done, total, episode)

        state, reason = "finished", ""
        try:
            return run_episodes(
                self.specs,
                self._env,
                self._agent,
                self.path,
                concurrency=self.settings.concurrency,
                max_steps=self._max_steps(),
                critic_history=self.value.history if self.value is not None else 0,
                critic_step=self.value.step if self.value is not None else "thought",
                model_history=self.settings.history,
                note=self.note,
                progress=on_episode,
                on_decision=self.watch.decision,
                client=self.model,
                say=say,
                around=self.tracing.episode if self.tracing is not None else None,
            )
        except BaseException as error:
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
            cleans = [self.model.clean, *([self.partner.clean] if self.partner else [])]
            reason = reduce(lambda text, clean: clean(text), cleans, str(error))
            reason = reason or type(error).__name__
            raise
        finally:
            if self.value is not None:
                self.value.flush()
            if self.partner is not None:
                self.partner.close()
            if self.tracing is not None:
                self.tracing.close()
            self.record.close(state, reason, self._so_far())

    def _env(self) -> TextEnv:
        task = self.settings.task
        try:
            seated = {"voice": self.partner} if self.partner is not None else {}
            return make_env(task.name, **task.args, **seated)
        except TypeError as error:
            raise PgvError(
                f"task.args {task.args} do not fit the task '{task.name}': {error}. It takes "
                f"{', '.join(_parameters(task.name)) or 'none'}; task.args={{}} gives none."
            ) from None

    def _specs(self, task: TaskConfig, env: TextEnv) -> Iterator[EpisodeSpec]:
        split_of = {
            task_id: split for split in ("test", "train") for task_id in env.task_ids(split)
        }
        ids = task.ids or env.task_ids(None if task.split == "all" else task.split)
        for unknown in sorted(set(ids) - set(env.task_ids())):
            raise PgvError(
                f"Task '{unknown}' of task.ids is not one of '{task.name}'; its ids read like "
                f"{', '.join(env.task_ids()[:3])}."
            )
        arm = self.settings.arm
        about = goals_asked(env, ids, task)
        for task_id in self.shard.part(list(dict.fromkeys(ids))):
            for goal, kind in about[task_id]:
                for seed in range(task.seed, task.seed + task.repeats):
                    parts = [arm, task_id, *([goal] if goal else []), str(seed)]
                    yield EpisodeSpec(
                        "/".join(parts),
                        task_id,
                        arm,
                        seed,
                        goal,
                        split_of.get(task_id),
                        {"goal_kind": kind} if kind else {},
                    )

    def _max_steps(self) -> int:
        task = self.settings.task
        asked = task.goal is not None or task.goals
        return task.max_steps or (GOAL_STEPS if asked else 0)

    def _prompts(self) -> dict[str, Prompt]:
        refined = strategy(self.settings.strategy).refined
        chosen = (self.settings.prompt,) if self.settings.chooses and not self.tools else ()
        rated = {"own": (OWN_CHOICE,)} | dict.fromkeys(FORESEEN, (NEXT_NOTE,))
        asked = rated.get(self.settings.scores, ())
        names = (self.asks, *chosen, *asked, *(PROMPTS if refined else ()))
        return {name: Prompt.load(name, self.settings.prompts) for name in names}

    def _critic(self) -> tuple[ValueFunction | None, Encoder | None]:
        """The critic, warm: compiled for the shapes of a decision, and proved to work at all."""
        settings = self.settings
        if not settings.needs_critic:
            return None, None
        if settings.artifact is None:
            raise PgvError(
                f"strategy={settings.strategy} with scores={settings.scores} needs a critic; give "
                "artifact=FOLDER (`pgv train` and `pgv quickstart` write one)."
            )
        from pgv_jax.critic.value import ValueFunction

        value = ValueFunction.load(
            settings.artifact,
            store=self._store(),
            pessimism=settings.pessimism,
        )
        if strategy(settings.strategy).refined and value.step != "thought":
            raise PgvError(
                f"strategy={settings.strategy} rewrites thoughts, whose actions are not known yet, "
                f"and {settings.artifact} reads texts.step={value.step}; train one with "
                "texts.step=thought, or choose a strategy that selects."
            )
        if strategy(settings.strategy).refined and settings.refine.numbers == "calibrated":
            self._check_calibration(value)
        most = settings.candidates if strategy(settings.strategy).several else 1
        value.warm_up(most, max(1, len(settings.goals), 2 * settings.refine.goals))
        if settings.scores in FORESEEN:
            value.v(SUCCESS, SUCCESS, [SUCCESS])
        else:
            value.q(SUCCESS, SUCCESS, [SUCCESS], [SUCCESS])
        return value, value.encoder

    def _note(self) -> Note | None:
        """Who writes the progress notes that the critic reads, if it was trained on such."""
        if self.value is None or "notes" not in self.value.manifest["texts"]:
            return None
        if not isinstance(self.model, ApiModel):
            raise PgvError(
                f"The critic {self.settings.artifact} was trained on progress notes of "
                f"'{self.value.manifest['texts']['notes']['model']}', and "
                f"'{self.settings.client}' writes none; choose an API model as client."
            )
        self.prompts[SUMMARY] = Prompt.load(SUMMARY, self.settings.prompts)
        return Summarizer(self.model.shared, self.prompts[SUMMARY]).note

    def _check_calibration(self, value: ValueFunction) -> None:
        """A model may imagine any sentence; with scores=scalar success alone is asked for."""
        goal = SUCCESS if self.settings.scores == "scalar" else ""
        if not value.calibrated(goal):
            raise PgvError(
                f"{self.settings.artifact} has no calibration for the goals that are shown; fit "
                "one with `pgv evaluate`, or give refine.numbers=raw or rank."
            )

    def _ends(self, encoder: Encoder | None) -> ValueFunction | None:
        """The critic that values steps which end the task, where it is not the searching one."""
        folder = self.settings.search.ends
        if not strategy(self.settings.strategy).search or folder is None:
            return None
        from pgv_jax.critic.value import ValueFunction

        return ValueFunction.load(folder, store=self._store(), encoder=encoder)

    def _store(self) -> Path:
        given = self.settings.store
        return Path(given) if given else self.out / f"embeddings{self.shard.suffix}"

    def _grounded(self) -> bool:
        settings = self.settings
        return strategy(settings.strategy).refined and settings.refine.grounding != "off"

    def _sentence_index(self, encoder: Encoder | None) -> SentenceIndex | None:
        dataset = self.settings.refine.dataset
        if not self._grounded():
            return None
        if encoder is None or dataset is None:
            raise PgvError("Grounding needs the critic's encoder: choose scores that use a critic.")
        from pgv_jax.data.episodes import read_episodes
        from pgv_jax.embed.storage.store import EmbeddingStore

        store = EmbeddingStore(self._store(), encoder)
        known = training_sentences(read_episodes(Path(dataset), "train"))

        def embed(texts: Sequence[str]) -> np.ndarray:
            store.add(texts)
            return store.lookup(texts)

        return SentenceIndex(known, embed)

    def _agent(self, env: TextEnv, spec: EpisodeSpec) -> Decider:
        agent = self._untraced_agent(env, spec)
        return agent if self.tracing is None else self.tracing.agent(agent)

    def _untraced_agent(self, env: TextEnv, spec: EpisodeSpec) -> Decider:
        settings = self.settings
        chosen = strategy(settings.strategy)
        client = self.model.client(env, spec)
        if chosen.search:
            assert self.value is not None
            return search_agent(
                settings,
                client,
                World(env, spec, settings.search.replay or None),
                search_values(self.value, self.ends),
                settings.goals or (spec.goal or SUCCESS,),
                self._system(spec, "act"),
                self._choice(spec),
            )
        selector = settings.selector
        rater = self._rater(client)
        scores = self.value is not None and selector in NEEDS_SCORES and rater is None
        agent = Agent(
            client,
            selector,
            scorer=self.value.q if self.value and scores else None,
            rater=rater,
            goals=settings.goals or (spec.goal or SUCCESS,),
            weights=settings.weights,
            candidates=settings.candidates if chosen.several else 1,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            repeat_penalty=settings.repeat_penalty,
            oracle=env.preferences,
            correct=env.correct,
            system=self._system(spec, self.asks),
            choice=self._choice(spec),
            tools=self.tools,
            fall_back=True,
        )
        if not chosen.refined:
            return RandomMoves(agent, settings.random) if settings.random else agent
        refiner = Refiner(
            client,
            self.value.q if self.value else None,
            self._refine_options(),
            likelihoods=self.value.likelihoods if self.value else _as_they_are,
            index=self.index,
        )
        return GuidedAgent(agent, refiner)

    def _rater(self, client: Client) -> Rater | None:
        if self.settings.scores == "own":
            return OwnChoice(client, self.prompts[OWN_CHOICE])
        if self.settings.scores not in FORESEEN:
            return None
        assert self.value is not None
        return Foresight(client, self.value.v_pairs, self.value.discount, self.prompts[NEXT_NOTE])

    def _system(self, spec: EpisodeSpec, name: str) -> str:
        """A prompt, with the strategy that the episode is steered by in its system part."""
        head, rule, user = self.prompts[name].text.strip().partition("\n---\n")
        parts = (head, str(spec.metadata.get("steering", "")))
        return "\n".join(filter(None, parts)) + rule + user

    def _choice(self, spec: EpisodeSpec) -> Choice | None:
        if self.tools or not self.settings.chooses:
            return None
        return choice_of(self.settings, self._system(spec, self.settings.prompt))

    def _refine_options(self) -> RefineOptions:
        refine = self.settings.refine
        return RefineOptions(
            **refine.model_dump(exclude={"dataset"}),
            scores=self.settings.scores,
            prompts=self.settings.prompts,
            structured=self.settings.answers != "text",
            length=choice_of(self.settings, "").thought_length,
        )

    def _about(self) -> dict[str, Any]:
        """What the run is, for its record."""
        settings = self.settings.model_dump(mode="json")
        settings["api"]["base_url"] = self.model.identity.get("base_url", "")
        return {
            "arm": self.settings.arm,
            "settings": settings,
            "model": self.model.identity,
            **({"partner": self.partner.identity} if self.partner is not None else {}),
            "prompts": {name: prompt.version for name, prompt in self.prompts.items()},
            "critic": None if self.value is None else fingerprint(str(settings["artifact"])),
            "shard": [self.shard.index, self.shard.count],
            "versions": versions_of(_PACKAGES),
        }

    def _so_far(self) -> dict[str, Any]:
        counts = dict(self.model.paid.counts) if self.model.paid is not None else {}
        partner = {} if self.partner is None else {"partner_spent": bill(self.partner.spent)}
        return {
            "episodes": len(self.specs),
            **self.watch.to_json(),
            "spent": bill(self.model.spent),
            **partner,
            "calls": counts,
        }


def _as_they_are(scores_G: np.ndarray, goals: Sequence[str]) -> np.ndarray:
    """Numbers that are not the critic's, such as a model's guesses, have no calibration."""
    return scores_G


def _parameters(name: str) -> list[str]:
    return list(inspect.signature(env_class(name)).parameters)
