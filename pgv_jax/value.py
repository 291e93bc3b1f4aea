"""The value function at run time: texts in, scores out, through one jitted scorer.

Texts are embedded by the artifact's own encoder, each once, and looked up in a store where one is
given. Shapes are padded to powers of two, so that a decision meets a shape that is compiled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax import artifact as artifacts
from pgv_jax.calibration import likelihoods
from pgv_jax.critic import ACTIVATIONS, Critic, CriticSpec, Head, link
from pgv_jax.data.texts import EPISODE, History, thought_text
from pgv_jax.embed.encoder import Encoder, open_encoder
from pgv_jax.embed.store import EmbeddingStore
from pgv_jax.errors import PgvError

HEADS = ("sigmoid", "linear")
PAIRS = 1024
"""Pairs scored in one call; the last call is padded to a power of two."""


UNSAVED = 512
"""New vectors that may wait in memory before they are written to the store."""


class ValueFunction:
    """A published critic with its encoder.

    ``q(task, observation, thoughts, goals) -> [N, G]`` and ``v(task, observation, goals) -> [G]``
    are what a decision needs; ``q_pairs`` and ``v_pairs`` score aligned lists. Values are means
    over the ensemble, in [0, 1] for bounded heads, float32.
    """

    def __init__(
        self, artifact: artifacts.Artifact, encoder: Encoder, store: EmbeddingStore | None = None
    ):
        """Join an artifact to an encoder; another encoder than the one trained on is an error."""
        trained = artifact.manifest["encoder"]
        if trained["fingerprint"] != encoder.fingerprint:
            raise PgvError(
                f"The critic {artifact.folder} was trained on embeddings of '{trained['name']}' "
                f"({trained['fingerprint'][:12]}), but the encoder at hand is '{encoder.name}' "
                f"({encoder.fingerprint[:12]}); use the same encoder, or train again."
            )
        self.manifest = artifact.manifest
        self.history: History = artifact.manifest["texts"]["history"]
        self._spec = _spec_of(artifact)
        self._encoder, self._store = encoder, store
        self._live = _live(encoder) if self.history == EPISODE else encoder.encode
        self._known: dict[str, np.ndarray] = {}
        self._unsaved: list[str] = []
        critic = nnx.eval_shape(lambda: Critic(self._spec, jax.random.key(0)))
        graph, shapes = nnx.split(critic)
        _check_params(artifact, nnx.to_pure_dict(shapes))
        params = jax.tree.map(jnp.asarray, artifact.params)

        def grid(head: Head, base: dict, rows: dict, goals_GD: jax.Array) -> jax.Array:
            h_REH = head.project(base)[None]
            if rows:
                h_REH = h_REH + head.project(rows)
            h_RGEH = h_REH[:, None] + head.project({"goal": goals_GD})[None]
            return link(head.finish(h_RGEH), self._spec.head).mean(0)

        def q(params: Any, task_D: Any, obs_D: Any, thought_ND: Any, goal_GD: Any) -> jax.Array:
            head = nnx.merge(graph, nnx.State(params)).q
            base = {"task": task_D, "observation": obs_D}
            return grid(head, base, {"thought": thought_ND}, goal_GD)

        def v(params: Any, task_D: Any, obs_D: Any, goal_GD: Any) -> jax.Array:
            head = nnx.merge(graph, nnx.State(params)).v
            return grid(head, {"task": task_D, "observation": obs_D}, {}, goal_GD)[0]

        def pairs(name: str) -> Any:
            def score(params: Any, inputs: dict) -> jax.Array:
                head = getattr(nnx.merge(graph, nnx.State(params)), name)
                return link(head(inputs), self._spec.head).mean(0)

            return jax.jit(score)

        self._params = params
        self._q, self._v = jax.jit(q), jax.jit(v)
        self._pairs = {name: pairs(name) for name in ("q", "v")}

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        store: str | os.PathLike[str] | None = None,
        encoder: Encoder | None = None,
    ) -> ValueFunction:
        """Open ``artifact/``; its encoder is opened by name unless one is given.

        ``store`` is a folder of embeddings to read from and to add new texts to.
        """
        artifact = artifacts.load(folder)
        encoder = encoder or open_encoder(artifact.manifest["encoder"]["name"])
        kept = EmbeddingStore(Path(store), encoder) if store is not None else None
        return cls(artifact, encoder, kept)

    def q(
        self, task: str, observation: str, thoughts: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """Q of every thought for every goal: float32 [N, G].

        ``observation`` is the field's text, ``data.texts.observation_text(.., history)``.
        """
        self._trained("q")
        thoughts = [thought_text(observation, thought, self.history) for thought in thoughts]
        if not thoughts or not goals:
            return np.zeros((len(thoughts), len(goals)), np.float32)
        self.embed([task, observation, *thoughts, *goals], live=True)
        thought_ND, goal_GD = self._padded(thoughts), self._padded(goals)
        task_D, obs_D = self._known[task], self._known[observation]
        scores = self._q(self._params, task_D, obs_D, thought_ND, goal_GD)
        return np.asarray(scores)[: len(thoughts), : len(goals)]

    def v(self, task: str, observation: str, goals: Sequence[str]) -> np.ndarray:
        """V of every goal: float32 [G]."""
        self._trained("v")
        if not goals:
            return np.zeros(0, np.float32)
        self.embed([task, observation, *goals], live=True)
        task_D, obs_D = self._known[task], self._known[observation]
        return np.asarray(self._v(self._params, task_D, obs_D, self._padded(goals)))[: len(goals)]

    def q_pairs(
        self,
        tasks: Sequence[str],
        observations: Sequence[str],
        thoughts: Sequence[str],
        goals: Sequence[str],
    ) -> np.ndarray:
        """Q of aligned lists: float32 [B]."""
        if len(observations) == len(thoughts):
            said = zip(observations, thoughts, strict=True)
            thoughts = [thought_text(seen, thought, self.history) for seen, thought in said]
        fields = {"task": tasks, "observation": observations, "thought": thoughts, "goal": goals}
        return self._aligned("q", fields)

    def v_pairs(
        self, tasks: Sequence[str], observations: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """V of aligned lists: float32 [B]."""
        return self._aligned("v", {"task": tasks, "observation": observations, "goal": goals})

    def likelihoods(self, scores_NG: np.ndarray, goals: Sequence[str]) -> np.ndarray:
        """Scores [..., G] of ``goals`` as calibrated likelihoods, by the artifact's calibration."""
        return likelihoods(self.manifest, scores_NG, goals)

    def embed(self, texts: Iterable[str], *, live: bool = False) -> None:
        """Make texts known: from memory, else from the store, else by the encoder.

        ``live``: they belong to a decision, so of an episode only what is new is read.

        What the encoder had to do goes to the store too, ``UNSAVED`` texts at a time: a decision
        does not wait for the disk. ``flush`` writes the rest.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if not new:
            return
        if self._store is not None:
            missing = set(self._store.missing(new))
            stored = [text for text in new if text not in missing]
            self._known.update(zip(stored, self._store.lookup(stored), strict=True))
            new = [text for text in new if text in missing]
        if new:
            encode = self._live if live else self._encoder.encode
            self._known.update(zip(new, encode(new), strict=True))
            self._unsaved += new
        if len(self._unsaved) >= UNSAVED:
            self.flush()

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """The embeddings of texts, as the critic meets them: float32 [len(texts), D]."""
        self.embed(texts)
        return np.stack([self._known[text] for text in texts])

    def flush(self) -> None:
        """Write the vectors that the store lacks."""
        if self._store is not None and self._unsaved:
            self._store.put(self._unsaved, np.stack([self._known[t] for t in self._unsaved]))
        self._unsaved = []

    def _aligned(self, name: str, fields: dict[str, Sequence[str]]) -> np.ndarray:
        self._trained(name)
        lengths = {field: len(texts) for field, texts in fields.items()}
        if len(set(lengths.values())) != 1:
            raise PgvError(f"Aligned lists differ in length: {lengths}.")
        self.embed(text for texts in fields.values() for text in texts)
        out = []
        for start in range(0, len(fields["task"]), PAIRS):
            part = {name: texts[start : start + PAIRS] for name, texts in fields.items()}
            inputs = {name: self._padded(texts) for name, texts in part.items()}
            scores = np.asarray(self._pairs[name](self._params, inputs))
            out.append(scores[: len(part["task"])])
        return np.concatenate(out) if out else np.zeros(0, np.float32)

    def _padded(self, texts: Sequence[str]) -> np.ndarray:
        """Stack the vectors of texts, with rows of zeros up to a power of two."""
        size = 1 << (len(texts) - 1).bit_length()
        out = np.zeros((size, self._spec.dim), np.float32)
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


def _live(encoder: Encoder) -> Callable[[Sequence[str]], np.ndarray]:
    """What reads an episode as it happens, for a critic that was trained on whole episodes."""
    from pgv_jax.embed.episode_mode import EpisodeEncoder

    if not isinstance(encoder, EpisodeEncoder):
        raise PgvError(
            f"A critic of texts.history=episode needs an encoder in episode mode; "
            f"'{encoder.name}' is none. Train again."
        )
    return encoder.reader().encode


def _spec_of(artifact: artifacts.Artifact) -> CriticSpec:
    try:
        spec = CriticSpec.from_json(artifact.manifest["critic"])
    except TypeError as error:
        raise PgvError(
            f"{artifact.folder}: the critic of its manifest is not one that this release knows "
            f"({error})."
        ) from None
    for key, value, known in (
        ("activation", spec.activation, tuple(ACTIVATIONS)),
        ("head", spec.head, HEADS),
    ):
        if value not in known:
            raise PgvError(
                f"{artifact.folder}: its critic's {key} is '{value}'; this release knows "
                f"{', '.join(known)}."
            )
    return spec


def _check_params(artifact: artifacts.Artifact, shapes: Any) -> None:
    wanted = {path: leaf.shape for path, leaf in _leaves(shapes)}
    found = {path: leaf.shape for path, leaf in _leaves(artifact.params)}
    for path in sorted(wanted.keys() | found.keys()):
        if wanted.get(path) != found.get(path):
            raise PgvError(
                f"{artifact.folder}: parameter {path} has shape {found.get(path)}; its manifest "
                f"asks for {wanted.get(path)}. The artifact is damaged."
            )


def _leaves(tree: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
