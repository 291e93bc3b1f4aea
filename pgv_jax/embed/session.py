"""Reading one episode as it happens: each new segment costs only its own tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.embed.models.decoder import Cache, Decoder
from pgv_jax.embed.pooling import finish

if TYPE_CHECKING:
    from pgv_jax.embed.episode_mode import EpisodeEncoder

_SMALLEST_CHUNK = 16


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
        self._tokens: list[int] = []
        self._start = 0
        self._read = 0

    def warm_up(self) -> None:
        """Compile what ``append`` needs."""
        for chunk in self._chunks:
            self._programs.prepare(chunk)

    def append(self, segment: str) -> np.ndarray:
        """Read one more segment; float32 [dim], the vector of the prefix that it ends."""
        encoder = self._encoder
        self._tokens += encoder.segment_ids([segment])[0]
        end = len(self._tokens)
        encoder.check_not_empty(end)
        start = encoder.windows.start(end)
        if start != self._start:
            self._start, self._read = start, 0
        ids = [*encoder.head, *self._tokens[start:]]
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
        return np.asarray(found)


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
