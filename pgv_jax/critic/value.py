"""The value function at run time: texts in, scores out, through one jitted scorer.

Texts are embedded by the artifact's own encoder, each once, and looked up in a store where one is
given. Shapes are padded to powers of two, so that a decision meets a shape that is compiled. The
first layer is additive, so its part on the task and the goals, which an episode shares, is kept.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic.calibration import calibrator_of, likelihoods
from pgv_jax.critic.compiled import CompiledHead, reduced, sizes
from pgv_jax.critic.heads import Critic
from pgv_jax.critic.imagined import STATE, Expectation, ImaginedQ, Row, kind_of, question_of
from pgv_jax.critic.parameters import check_params, spec_of
from pgv_jax.critic.vectors import Vectors
from pgv_jax.embed.encoder import Encoder
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.texts.templates import EPISODE, History, StepForm, thought_text

PAIRS = 1024
"""Pairs scored in one call; the last call is padded to a power of two."""

IMAGINED_PAIRS = 128
"""Pairs whose next notes are imagined in one call."""

Ask = Callable[[Sequence[int]], np.ndarray]
"""The places of some goals -> their values by each member, [E, ..., len(places)]."""

CONTEXTS = 256
"""Tasks, each with its goals, whose part of the first layer is kept."""


class ValueFunction:
    """A published critic with its encoder.

    ``q(task, observation, thoughts, goals) -> [N, G]`` and ``v(task, observation, goals) -> [G]``
    are what a decision needs; ``q_pairs`` and ``v_pairs`` score aligned lists. Values are means
    over the ensemble (less its disagreement, under ``pessimism``), in [0, 1] for bounded heads,
    float32.
    """

    def __init__(
        self,
        artifact: artifacts.Artifact,
        encoder: Encoder,
        store: EmbeddingStore | None = None,
        pessimism: float = 0.0,
        imagine: bool = True,
    ):
        """Join an artifact to an encoder; another encoder than the one trained on is an error.

        ``pessimism`` takes so many standard deviations of the ensemble's Q off their mean.
        ``imagine=False`` asks the direct Q head of a critic that imagines.
        """
        if not 0 <= pessimism < math.inf:
            raise PgvError(f"pessimism is {pessimism}; use a number from 0 (none) on, such as 1.")
        trained = artifact.manifest["encoder"]
        if trained["fingerprint"] != encoder.fingerprint:
            raise PgvError(
                f"The critic {artifact.folder} was trained on embeddings of '{trained['name']}' "
                f"({trained['fingerprint'][:12]}), but the encoder at hand is '{encoder.name}' "
                f"({encoder.fingerprint[:12]}); use the same encoder, or train again."
            )
        self.manifest = artifact.manifest
        self.history: History = artifact.manifest["texts"]["history"]
        self.step: StepForm = artifact.manifest["texts"].get("step", "thought")
        self._spec = spec_of(artifact)
        self.encoder = encoder
        live = _live(encoder) if self.history == EPISODE else encoder.encode
        self._pessimism = pessimism
        self._members = math.lcm(self._spec.ensemble, self._spec.outcome_members or 1)
        self._known = Vectors(encoder, store, live)
        critic = nnx.eval_shape(lambda: Critic(self._spec, jax.random.key(0)))
        check_params(artifact, nnx.to_pure_dict(nnx.state(critic)))
        self._heads = {
            name: CompiledHead(getattr(critic, name), artifact.params[name], self._spec.head)
            for name in ("q", "v")
        }
        self._context = functools.lru_cache(CONTEXTS)(self._new_context)
        self._imagined = None
        if self._spec.note_width and imagine:
            self._imagined = ImaginedQ(
                artifact.params["m"],
                critic.v,
                artifact.params["v"],
                self._spec.head,
                artifact.manifest["objective"]["gamma"],
            )

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        store: str | os.PathLike[str] | None = None,
        encoder: Encoder | None = None,
        pessimism: float = 0.0,
        imagine: bool = True,
    ) -> ValueFunction:
        """Open ``artifact/``; its encoder is opened by name unless one is given.

        ``store`` is a folder of embeddings to read from and to add new texts to. ``imagine=False``
        asks the direct Q head of a critic that imagines.
        """
        artifact = artifacts.load(folder)
        encoder = encoder or open_encoder(artifact.manifest["encoder"]["name"])
        kept = EmbeddingStore(Path(store), encoder) if store is not None else None
        return cls(artifact, encoder, kept, pessimism, imagine)

    def discount(self, goal: str) -> float:
        """What a value of ``goal`` shrinks by a step; 1: values of it are chances."""
        gamma = artifacts.discount(self.manifest, goal)
        return 1.0 if gamma is None else gamma

    def q(
        self, task: str, observation: str, thoughts: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """Q of every thought for every goal: float32 [N, G].

        ``observation`` is the field's text, ``texts.templates.observation_text(.., history)``, and
        ``thoughts`` are ``step_text(thought, action, critic.step)``.
        """
        return reduced(self.q_ensemble(task, observation, thoughts, goals), self._pessimism)

    def q_ensemble(
        self, task: str, observation: str, thoughts: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """What ``q`` reduces, Q by each member of the ensemble: float32 [E, N, G]."""
        self._trained("q")
        _are_lists(thoughts=thoughts, goals=goals)
        thoughts = [thought_text(observation, thought, self.history) for thought in thoughts]
        if not thoughts or not goals:
            return np.zeros((self._members, len(thoughts), len(goals)), np.float32)

        def direct(goals: Sequence[str]) -> np.ndarray:
            self.embed([task, observation, *thoughts, *goals], live=True)
            seen_1D, thought_ND = self._known[observation][None], self._padded(thoughts)
            rows = {"observation": seen_1D, "thought": thought_ND}
            members_ENG = self._heads["q"].grid(self._context("q", task, tuple(goals)), rows)
            return members_ENG[:, : len(thoughts), : len(goals)]

        if self._imagined is None:
            return direct(goals)
        imagined_q, steps = self._imagined, [Row(task, observation, each) for each in thoughts]

        def imagined(goals: Sequence[str]) -> np.ndarray:
            members_ENG = imagined_q.values(question_of(steps, [goals], self.vectors))
            return members_ENG[:, : len(thoughts), : len(goals)]

        return self._routed(
            goals,
            lambda at: imagined([goals[i] for i in at]),
            lambda at: direct([goals[i] for i in at]),
        )

    def v(self, task: str, observation: str, goals: Sequence[str]) -> np.ndarray:
        """V of every goal: float32 [G]."""
        self._trained("v")
        _are_lists(goals=goals)
        if not goals:
            return np.zeros(0, np.float32)
        self.embed([task, observation, *goals], live=True)
        rows = {"observation": self._known[observation][None]}
        scores_E1G = self._heads["v"].grid(self._context("v", task, tuple(goals)), rows)
        return reduced(scores_E1G, self._pessimism)[0, : len(goals)]

    def q_pairs(
        self,
        tasks: Sequence[str],
        observations: Sequence[str],
        thoughts: Sequence[str],
        goals: Sequence[str],
    ) -> np.ndarray:
        """Q of aligned lists: float32 [B]."""
        return reduced(self.q_members(tasks, observations, thoughts, goals), self._pessimism)

    def q_members(
        self,
        tasks: Sequence[str],
        observations: Sequence[str],
        thoughts: Sequence[str],
        goals: Sequence[str],
    ) -> np.ndarray:
        """Q of aligned lists by each member of the ensemble: float32 [E, B]."""
        _are_lists(observations=observations, thoughts=thoughts)
        if len(observations) == len(thoughts):
            said = zip(observations, thoughts, strict=True)
            thoughts = [thought_text(seen, thought, self.history) for seen, thought in said]
        fields = {"task": tasks, "observation": observations, "thought": thoughts, "goal": goals}
        if self._imagined is None:
            return self._aligned("q", fields)
        self._check_aligned("q", fields)

        def some(at: Sequence[int]) -> dict[str, Sequence[str]]:
            return {name: [texts[i] for i in at] for name, texts in fields.items()}

        return self._routed(
            goals,
            lambda at: self._imagined_pairs(some(at)),
            lambda at: self._aligned("q", some(at)),
        )

    def v_pairs(
        self, tasks: Sequence[str], observations: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """V of aligned lists: float32 [B]."""
        fields = {"task": tasks, "observation": observations, "goal": goals}
        return reduced(self._aligned("v", fields), self._pessimism)

    def calibrated(self, goal: str) -> bool:
        """Whether the artifact has a calibration for ``goal``."""
        return calibrator_of(self.manifest, goal) is not None

    @property
    def imagines(self) -> bool:
        """Whether Q is imagined, so that ``expects`` can be asked."""
        return self._imagined is not None

    def expects(
        self, task: str, observation: str, thoughts: Sequence[str], sentences: Sequence[str]
    ) -> list[Expectation]:
        """What each thought is expected to lead to, by a critic that imagines (else PgvError).

        Which sentences of the note go, which of ``sentences`` appear, and how the step ends.
        """
        if self._imagined is None:
            raise PgvError("This critic does not imagine; train one with critic.q=imagined.")
        rows = [Row(task, observation, thought) for thought in thoughts]
        return self._imagined.expects(rows, sentences, self.vectors) if rows else []

    def likelihoods(self, scores_NG: np.ndarray, goals: Sequence[str]) -> np.ndarray:
        """Scores [..., G] of ``goals`` as calibrated likelihoods, by the artifact's calibration."""
        return likelihoods(self.manifest, scores_NG, goals)

    def warm_up(self, thoughts: int, goals: int) -> None:
        """Compile what ``q`` of at most so many thoughts and goals can meet.

        An encoder that compiles shapes, too, is warmed for as many texts as one such call has.
        """
        if hasattr(self.encoder, "warm_up"):
            self.encoder.warm_up(2 + thoughts + goals)
        self._trained("q")
        nothing_D = np.zeros(self._spec.dim, np.float32)
        if self._imagined is not None:
            for size_N, size_G in itertools.product(sizes(thoughts), sizes(goals)):
                steps = [Row("", "", str(i)) for i in range(size_N)]
                asked = [str(i) for i in range(size_G)]
                self._imagined.values(
                    question_of(steps, [asked], lambda texts: np.tile(nothing_D, (len(texts), 1)))
                )
            if not self._spec.outcome_members:
                return
        for size_G in sizes(goals):
            context_GEH = self._heads["q"].context(nothing_D, np.tile(nothing_D, (size_G, 1)))
            for size_N in sizes(thoughts):
                thought_ND = np.tile(nothing_D, (size_N, 1))
                rows = {"observation": nothing_D[None], "thought": thought_ND}
                self._heads["q"].grid(context_GEH, rows)

    @property
    def compilations(self) -> int:
        """How many shapes were compiled so far, by the heads and by an encoder that counts."""
        own = sum(head.compilations for head in self._heads.values())
        own += self._imagined.compilations if self._imagined else 0
        return own + getattr(self.encoder, "compilations", 0)

    def embed(self, texts: Iterable[str], *, live: bool = False) -> None:
        """Make texts known: from memory, else from the store, else by the encoder.

        ``live``: they belong to a decision, so of an episode only what is new is read.
        """
        self._known.embed(texts, live=live)

    @property
    def lookups(self) -> tuple[int, int]:
        """How many distinct texts calls asked for so far, and how many were in memory."""
        return self._known.asked, self._known.found

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """The embeddings of texts, as the critic meets them: float32 [len(texts), D]."""
        _are_lists(texts=texts)
        self.embed(texts)
        return np.stack([self._known[text] for text in texts])

    def flush(self) -> None:
        """Write the vectors that the store lacks."""
        self._known.flush()

    def _routed(self, goals: Sequence[str], imagined: Ask, direct: Ask) -> np.ndarray:
        """Q [E, ..., len(goals)] of a critic that imagines: outcomes are the expert's, if any."""
        by_direct = [self._spec.outcome_members > 0 and kind_of(goal) != STATE for goal in goals]
        found: dict[int, np.ndarray] = {}
        for ask, asked in ((imagined, False), (direct, True)):
            at = [i for i, other in enumerate(by_direct) if other == asked]
            if at:
                members = ask(at)
                values = np.repeat(members, self._members // len(members), axis=0)
                found |= {i: values[..., j] for j, i in enumerate(at)}
        if not found:
            return np.zeros((self._members, 0), np.float32)
        return np.stack([found[i] for i in range(len(goals))], axis=-1)

    def _imagined_pairs(self, fields: dict[str, Sequence[str]]) -> np.ndarray:
        """Imagined Q of aligned lists: [E, B]."""
        assert self._imagined is not None
        rows = [Row(*step) for step in zip(*list(fields.values())[:3], strict=True)]
        out = []
        for start in range(0, len(rows), IMAGINED_PAIRS):
            part = rows[start : start + IMAGINED_PAIRS]
            goals = [[goal] for goal in fields["goal"][start : start + IMAGINED_PAIRS]]
            members_EB1 = self._imagined.values(question_of(part, goals, self.vectors))
            out.append(members_EB1[:, : len(part), 0])
        return np.concatenate(out, axis=1)

    def _check_aligned(self, name: str, fields: dict[str, Sequence[str]]) -> None:
        self._trained(name)
        _are_lists(**fields)
        lengths = {field: len(texts) for field, texts in fields.items()}
        if len(set(lengths.values())) != 1:
            raise PgvError(f"Aligned lists differ in length: {lengths}.")

    def _aligned(self, name: str, fields: dict[str, Sequence[str]]) -> np.ndarray:
        self._check_aligned(name, fields)
        self.embed(text for texts in fields.values() for text in texts)
        out = []
        for start in range(0, len(fields["task"]), PAIRS):
            part = {name: texts[start : start + PAIRS] for name, texts in fields.items()}
            inputs = {name: self._padded(texts) for name, texts in part.items()}
            members_EB = self._heads[name].pairs(inputs)
            out.append(members_EB[:, : len(part["task"])])
        members = self._members if name == "q" else 1
        return np.concatenate(out, axis=1) if out else np.zeros((members, 0), np.float32)

    def _new_context(self, name: str, task: str, goals: tuple[str, ...]) -> jax.Array:
        return self._heads[name].context(self._known[task], self._padded(goals))

    def _padded(self, texts: Sequence[str]) -> np.ndarray:
        """Stack the vectors of texts, with rows of zeros up to a power of two."""
        out = np.zeros((sizes(len(texts))[-1], self._spec.dim), np.float32)
        for row, text in zip(out, texts, strict=False):
            row[:] = self._known[text]
        return out

    def _trained(self, name: str) -> None:
        heads = self.manifest["heads"]
        if name not in heads:
            raise PgvError(
                f"The critic's head '{name}' was not trained (objective "
                f"{self.manifest['objective']['name']} trains {', '.join(heads)})."
            )


def _are_lists(**fields: Sequence[str]) -> None:
    """A text where a list of texts belongs would be read letter by letter."""
    for name, texts in fields.items():
        if isinstance(texts, str):
            raise PgvError(
                f"{name} is one text, '{texts[:60]}', where a list of texts belongs; put it in "
                "brackets."
            )


def _live(encoder: Encoder) -> Callable[[Sequence[str]], np.ndarray]:
    """What reads an episode as it happens, for a critic that was trained on whole episodes."""
    from pgv_jax.embed.episode_mode import EpisodeEncoder

    if not isinstance(encoder, EpisodeEncoder):
        raise PgvError(
            f"A critic of texts.history=episode needs an encoder in episode mode; "
            f"'{encoder.name}' is none. Train again."
        )
    return encoder.reader().encode
