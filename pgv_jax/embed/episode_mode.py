"""One forward pass an episode: causal models give the vector of every prefix at its end.

An encoder of *prefix texts* (see ``texts.segments``). Segments are tokenized one by one, so that
a prefix always has the same tokens, and its vector is the hidden state of its last token. Longer
chains are cut into overlapping windows by a rule that depends on positions only: reading a chain
at once, reading each prefix alone, and reading it piece by piece with a cache give equal vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pgv_jax.embed.batches import CHARACTERS_A_TOKEN, FULL_BATCHES, Buckets
from pgv_jax.embed.compilation import Runner, pad_ids
from pgv_jax.embed.encoder import EncodeStats, fingerprint_of
from pgv_jax.embed.models.decoder import Decoder
from pgv_jax.embed.models.load import Loaded
from pgv_jax.embed.models.sharding import DATA
from pgv_jax.embed.pooling import finish
from pgv_jax.embed.session import EpisodeReader, EpisodeSession, Programs
from pgv_jax.embed.text_mode import describe
from pgv_jax.embed.tokens import TextTokenizer
from pgv_jax.errors import PgvError
from pgv_jax.texts.segments import chains, split


@dataclass(frozen=True)
class Windows:
    """Which part of a chain is read for a prefix of ``end`` tokens.

    A window holds ``room`` tokens and begins at a multiple of ``stride``; the earliest window that
    holds the prefix's end is taken, so at least room - stride tokens of context are seen.
    """

    room: int
    stride: int

    def start(self, end: int) -> int:
        """First token of the window for a prefix of ``end`` tokens."""
        return max(0, -(-(end - self.room) // self.stride)) * self.stride


@dataclass(frozen=True, slots=True)
class _Read:
    """One window to be read: its ids, and (text number, position of the last token) pairs."""

    ids: np.ndarray
    ends: list[tuple[int, int]]


class EpisodeEncoder:
    """A causal model as an encoder of prefix texts; a text without separators is one segment."""

    def __init__(
        self,
        name: str,
        loaded: Loaded,
        tokenizer: TextTokenizer,
        budget: int,
        mesh: Mesh | None = None,
    ):
        rules = tokenizer.rules
        self.name, self.rules, self.tokenizer, self.loaded = name, rules, tokenizer, loaded
        self.dim = rules.truncate_to or loaded.hidden_size
        self.chunk_characters = CHARACTERS_A_TOKEN * FULL_BATCHES * budget
        self.stats = EncodeStats()
        # What a tokenizer puts behind a text (an end mark) has no place inside of an episode.
        self.head = [*tokenizer.head, *tokenizer.prefix]
        room = rules.max_tokens - len(self.head)
        self.windows = Windows(room, max(1, room - room // 2))
        self.buckets = Buckets.up_to(rules.max_tokens, budget, mesh.shape[DATA] if mesh else 1)

        def vectors(
            model: Decoder, ids_BL: jax.Array, count_B: jax.Array, ends_BN: jax.Array
        ) -> jax.Array:
            del count_B  # padding lies behind, where no token looks
            hidden_BLD = model.read(ids_BL)
            return finish(jnp.take_along_axis(hidden_BLD, ends_BN[..., None], axis=1), rules)

        self.runner = Runner(loaded.model, vectors, mesh)
        self._programs: dict[int, Programs] = {}
        self.fingerprint = fingerprint_of(self.describe())

    def describe(self) -> dict[str, Any]:
        """Everything that changes the vectors, the windows included."""
        facts = describe("episode", self.loaded, self.tokenizer, self.rules, self.dim)
        overlap = self.windows.room - self.windows.stride
        return {**facts, "window_tokens": self.windows.room, "window_overlap": overlap}

    @property
    def compilations(self) -> int:
        """How many shapes were compiled so far."""
        return self.runner.compilations

    def groups(self, texts: Sequence[str]) -> list[list[str]]:
        """Texts that should be encoded in one call: the prefixes of one episode."""
        return sorted(chains(texts), key=lambda chain: -len(chain[-1]))

    def session(self, max_chunk: int = 256) -> EpisodeSession:
        """Read one episode as it happens, with a cache."""
        return EpisodeSession(self, max_chunk)

    def reader(self) -> EpisodeReader:
        """Embed prefixes of several episodes as they happen."""
        return EpisodeReader(self)

    def warm_up(self, n_texts: int | None = None) -> None:
        """Compile what reading an episode as it happens needs, whatever ``n_texts`` is."""
        self.session().warm_up()

    def programs(self, capacity: int) -> Programs:
        """The compiled cache steps for caches of this capacity."""
        if capacity not in self._programs:
            self._programs[capacity] = Programs(self, capacity)
        return self._programs[capacity]

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Embed prefix texts in order: float32 [len(texts), dim]; one pass over each chain.

        ``stats.truncated`` counts the prefixes that did not fit into one window.
        """
        distinct = list(dict.fromkeys(texts))
        number = {text: i for i, text in enumerate(distinct)}
        vectors = np.empty((len(distinct), self.dim), np.float32)
        reads = [read for chain in chains(distinct) for read in self._reads(chain, number)]
        for plan in self.buckets.plan([len(read.ids) for read in reads]):
            rows = [reads[i] for i in plan.indices]
            ids, counts = pad_ids([read.ids for read in rows], (plan.rows, plan.length))
            # Few widths, so that few shapes are compiled.
            most = max(len(read.ends) for read in rows)
            ends = np.zeros((plan.rows, 4 ** max(1, (most - 1).bit_length() + 1 >> 1)), np.int32)
            for i, read in enumerate(rows):
                ends[i, : len(read.ends)] = [position for _, position in read.ends]
            found = np.asarray(self.runner(ids, counts, ends))
            for i, read in enumerate(rows):
                vectors[[n for n, _ in read.ends]] = found[i, : len(read.ends)]
            if progress is not None:
                progress(sum(len(read.ends) for read in rows))
        return vectors[[number[text] for text in texts]]

    def segment_ids(self, segments: Sequence[str]) -> list[list[int]]:
        """Token ids of segments, each by itself."""
        return self.tokenizer.bare(segments)

    def _reads(self, chain: list[str], number: dict[str, int]) -> Iterator[_Read]:
        """The windows that the prefixes of one chain need."""
        pieces = self.segment_ids(split(chain[-1]))
        bounds = np.cumsum([len(piece) for piece in pieces])
        tokens = np.concatenate([np.asarray(piece, np.int32) for piece in pieces])
        by_window: dict[int, list[tuple[int, int]]] = {}
        for prefix in chain:
            segments = split(prefix)
            end = int(bounds[len(segments) - 1])
            lossy = int(any(map(self.tokenizer.is_lossy, segments)))
            if not end and not self.head:
                yield _Read(np.asarray(self.stand_in(), np.int32), [(number[prefix], 0)])
                self.stats.add(1, 1, 0, 1, lossy)
                continue
            start = self.windows.start(end)
            entry = (number[prefix], len(self.head) + end - start - 1)
            by_window.setdefault(start, []).append(entry)
            self.stats.add(1, 0, int(start > 0), int(not end), lossy)
        for start, ends in by_window.items():
            stop = start + max(position for _, position in ends) + 1 - len(self.head)
            ids = np.asarray([*self.head, *tokens[start:stop]], np.int32)
            self.stats.add(0, len(ids), 0)
            yield _Read(ids, ends)

    def stand_in(self) -> list[int]:
        """Read in place of a prefix without any token; nothing of it is seen by longer ones."""
        if not self.tokenizer.stand_in:
            raise PgvError(
                f"An episode that begins with an empty text has no vector by '{self.name}', whose "
                "tokenizer neither adds a first token nor names one; leave the empty text out, or "
                "give a prefix."
            )
        return self.tokenizer.stand_in
