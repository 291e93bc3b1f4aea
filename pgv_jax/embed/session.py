"""Reading one episode as it happens: each new segment costs only its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.embed.models.decoder import Cache, Decoder
from pgv_jax.embed.pooling import finish
from pgv_jax.texts.segments import SEPARATOR, split

if TYPE_CHECKING:
    from pgv_jax.embed.episode_mode import EpisodeEncoder

_SMALLEST_CHUNK = 16
SESSIONS = 8
"""Episodes that a reader follows at a time; each holds a cache of a window's keys and values."""


class EpisodeSession:
    """The keys and values of the segments read so far; ``append`` gives the next vector.

    Once the episode outgrows the window, the cache is filled anew from the window that
    ``Windows.start`` names: now and then one append costs about half a window.
    """

    def __init__(self, encoder: EpisodeEncoder, max_chunk: int = 256):
        self._encoder = encoder
        model = encoder.loaded.model
        assert isinstance(model, Decoder)
        self._chunks = [_SMALLEST_CHUNK]
        while self._chunks[-1] < max_chunk:
            self._chunks.append(self._chunks[-1] * 4)
        # Padding behind the last real token may reach one chunk beyond the window.
        self._capacity = encoder.rules.max_tokens + self._chunks[-1]
        self._programs = encoder.programs(self._capacity)
        self._cache = model.empty_cache(1, self._capacity)
        self.segments: list[str] = []
        self._ends: list[int] = []
        self._tokens: list[int] = []
        self._start = 0
        self._read = 0

    def warm_up(self) -> None:
        """Compile what ``append`` needs."""
        for chunk in self._chunks:
            self._programs.prepare(chunk)

    def append(self, segment: str) -> np.ndarray:
        """Read one more segment; float32 [dim], the vector of the prefix that it ends."""
        return self.extend([segment])

    def read(self, segments: Sequence[str]) -> np.ndarray:
        """float32 [dim], the vector of a prefix; what is already in the cache is not read again."""
        # The last segment is: its vector was given out, and is not kept.
        self.rewind(min(self.shared(segments), len(segments) - 1))
        return self.extend(segments[len(self.segments) :])

    def shared(self, segments: Sequence[str]) -> int:
        """How many of its first segments a prefix has in common with what was read."""
        pairs = zip(self.segments, segments, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def rewind(self, count: int) -> None:
        """Forget all but the first ``count`` segments; what is read next overwrites their cache."""
        del self.segments[count:], self._ends[count:]
        end = self._ends[-1] if self._ends else 0
        del self._tokens[end:]
        self._read = min(self._read, len(self._encoder.head) + max(0, end - self._start))

    def extend(self, segments: Sequence[str]) -> np.ndarray:
        """Read more segments; float32 [dim], the vector of the prefix that the last one ends."""
        encoder = self._encoder
        for segment, ids in zip(segments, encoder.segment_ids(segments), strict=True):
            self._tokens += ids
            self.segments.append(segment)
            self._ends.append(len(self._tokens))
        end = len(self._tokens)
        start = encoder.windows.start(end)
        if start != self._start:
            self._start, self._read = start, 0
        ids = [*encoder.head, *self._tokens[start:]] or encoder.stand_in()
        # A segment without tokens asks for the last token's vector once more.
        self._read = min(self._read, len(ids) - 1)
        while self._read < len(ids):
            left = len(ids) - self._read
            chunk = next((c for c in self._chunks if c >= left), self._chunks[-1])
            part = ids[self._read : self._read + chunk]
            found, self._cache = self._programs(
                self._cache, [*part, *[0] * (chunk - len(part))], self._read, len(part) - 1
            )
            self._read += len(part)
        if not end and not encoder.head:
            self._read = 0  # what follows overwrites the stand-in
        return np.asarray(found)


class EpisodeReader:
    """Vectors of prefixes as their episodes grow: a decision costs the tokens that are new to it.

    Follows up to ``sessions`` episodes; beyond them, the one that was asked for least recently is
    forgotten, and read anew as a whole when it is asked for again.
    """

    def __init__(self, encoder: EpisodeEncoder, sessions: int = SESSIONS):
        self._encoder, self._most = encoder, sessions
        self._sessions: list[EpisodeSession] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed prefixes, and single texts such as goals, in order: float32 [n, dim]."""
        vectors = np.empty((len(texts), self._encoder.dim), np.float32)
        alone = [i for i, text in enumerate(texts) if SEPARATOR not in text]
        if alone:
            vectors[alone] = self._encoder.encode([texts[i] for i in alone])
        for i in sorted(set(range(len(texts))) - set(alone)):
            segments = split(texts[i])
            vectors[i] = self._session(segments).read(segments)
        return vectors

    def _session(self, segments: Sequence[str]) -> EpisodeSession:
        """The session behind these segments' episode, now the last of the list."""
        # One behind it has read nothing else but perhaps another thought: one segment is lost.
        behind = [s for s in self._sessions if len(s.segments) - s.shared(segments) <= 1]
        if behind:
            session = max(behind, key=lambda s: s.shared(segments))
            self._sessions.remove(session)
        elif len(self._sessions) < self._most:
            session = self._encoder.session()
        else:
            session = self._sessions.pop(0)
        self._sessions.append(session)
        return session


class Programs:
    """Compiled cache steps by chunk size; sessions of one encoder share them."""

    def __init__(self, encoder: EpisodeEncoder, capacity: int):
        model, rules = encoder.loaded.model, encoder.rules
        graph, self._state = nnx.split(model)
        assert isinstance(model, Decoder)
        self._cache = jax.eval_shape(lambda: model.empty_cache(1, capacity))
        self._compiled: dict[int, jax.stages.Compiled] = {}

        def step(
            state: nnx.State, cache: Cache, ids_BL: jax.Array, start: jax.Array, last: jax.Array
        ) -> tuple[jax.Array, Cache]:
            model = cast(Decoder, nnx.merge(graph, state))
            hidden_BLD, cache = model.extend(cache, ids_BL, start)
            return finish(hidden_BLD[0, last][None], rules)[0], cache

        self._jitted = jax.jit(step, donate_argnums=1)

    def prepare(self, chunk: int) -> jax.stages.Compiled:
        """The program that reads ``chunk`` tokens."""
        if chunk not in self._compiled:
            number = jax.ShapeDtypeStruct((), jnp.int32)
            ids = jax.ShapeDtypeStruct((1, chunk), jnp.int32)
            self._compiled[chunk] = self._jitted.lower(
                self._state, self._cache, ids, number, number
            ).compile()
        return self._compiled[chunk]

    def __call__(
        self, cache: Cache, ids: list[int], start: int, last: int
    ) -> tuple[jax.Array, Cache]:
        """Read ``ids`` behind ``start`` cached tokens; the vector of token ``last`` of them."""
        numbers = np.int32(start), np.int32(last)
        return self.prepare(len(ids))(self._state, cache, np.asarray([ids], np.int32), *numbers)
