"""One forward pass a text: the common way to embed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from pgv_jax.embed.batches import (
    CHARACTERS_A_TOKEN,
    FULL_BATCHES,
    Buckets,
    Plan,
    packed,
    packed_arrays,
    packed_shapes,
    slots,
)
from pgv_jax.embed.compilation import Runner, pad_ids
from pgv_jax.embed.encoder import EncodeStats, fingerprint_of
from pgv_jax.embed.models.bert import Bert
from pgv_jax.embed.models.decoder import Decoder
from pgv_jax.embed.models.load import Loaded
from pgv_jax.embed.models.sharding import DATA
from pgv_jax.embed.pooling import pool
from pgv_jax.embed.text_rules import TextRules
from pgv_jax.embed.tokens import TextTokenizer, Tokens

VERSION = 1
_BLOCK_TEXTS = 512
_PACKED_BLOCK = 4096
"""Texts that are packed together."""
_IN_FLIGHT = 3
FEW = 32
"""Texts up to which a call is a decision's, in small batches; more of them are packed."""


class TextEncoder:
    """A frozen language model as an encoder of single texts; ``model_files`` opens one."""

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
        self.buckets = Buckets.up_to(rules.max_tokens, budget, mesh.shape[DATA] if mesh else 1)

        def vectors(model: nnx.Module, ids_BL: jax.Array, count_B: jax.Array) -> jax.Array:
            mask_BL = (jnp.arange(ids_BL.shape[1])[None] < count_B[:, None]).astype(jnp.int32)
            if isinstance(model, Decoder):
                return pool(model.read(ids_BL), mask_BL, rules)
            return pool(model(ids_BL, mask_BL), mask_BL, rules)

        def several(model: nnx.Module, ids_BL: jax.Array, text_BL: jax.Array) -> jax.Array:
            """[B, texts of a row, D]."""
            assert isinstance(model, Bert)
            hidden_BLD = model(ids_BL, text_BL)
            number_N = jnp.arange(1, slots(text_BL.shape[1]) + 1)
            mask_NBL = (text_BL[None] == number_N[:, None, None]).astype(jnp.int32)
            return jax.vmap(lambda mask_BL: pool(hidden_BLD, mask_BL, rules), out_axes=1)(mask_NBL)

        self.runner = Runner(loaded.model, vectors, mesh)
        self.packed_runner = None
        if isinstance(loaded.model, Bert):
            self.packed_runner = Runner(loaded.model, several, mesh)
        self.fingerprint = fingerprint_of(self.describe())

    def describe(self) -> dict[str, Any]:
        """Everything that changes the vectors: weights, tokenizer, rules, dtype."""
        return describe("text", self.loaded, self.tokenizer, self.rules, self.dim)

    @property
    def compilations(self) -> int:
        """How many shapes were compiled so far."""
        others = self.packed_runner.compilations if self.packed_runner else 0
        return self.runner.compilations + others

    def warm_up(self, texts: int | None = None) -> None:
        """Compile every shape that a call with up to ``texts`` texts can meet (None: any call).

        A batch may be a third empty, so shapes of up to 1.5 x ``texts`` rows count.
        """
        for rows, length in self.buckets.shapes():
            smallest = rows == self.buckets.small(length)[0]
            if texts is None or smallest or 2 * rows <= 3 * texts:
                self.runner.prepare((rows, length), (rows,))
        if self.packed_runner and (texts is None or texts > FEW):
            for shape in packed_shapes(self.buckets):
                self.packed_runner.prepare(shape, shape)

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Embed ``texts`` in order: float32 [len(texts), dim]."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        pending: deque[_Started] = deque()

        def collect() -> None:
            started = pending.popleft()
            found = np.asarray(started.vectors).reshape(-1, self.dim)
            vectors[started.indices] = found[started.places]
            if progress is not None:
                progress(len(started.indices))

        packs = self.packed_runner is not None and len(texts) > FEW
        for started in self._rows_of_several(texts) if packs else self._rows_of_one(texts):
            pending.append(started)
            if len(pending) > _IN_FLIGHT:
                collect()
        while pending:
            collect()
        return vectors

    def _rows_of_one(self, texts: Sequence[str]) -> Iterator[_Started]:
        """Batches as they fill, a text a row."""
        found: dict[int, Tokens] = {}
        planner = self.buckets.planner()

        def start(plan: Plan) -> _Started:
            rows = [found.pop(i).ids for i in plan.indices]
            result = self.runner(*pad_ids(rows, (plan.rows, plan.length)))
            return _Started(plan.indices, np.arange(len(plan.indices)), result)

        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        for indices, tokens in self._tokenized(texts, order, _BLOCK_TEXTS):
            found.update(zip(indices, tokens, strict=True))
            yield from map(start, planner.push(indices, [len(t.ids) for t in tokens]))
        yield from map(start, planner.flush())

    def _rows_of_several(self, texts: Sequence[str]) -> Iterator[_Started]:
        """Full batches, several texts a row."""
        assert self.packed_runner is not None
        for indices, tokens in self._tokenized(texts, range(len(texts)), _PACKED_BLOCK):
            for plan in packed(self.buckets, [len(t.ids) for t in tokens]):
                ids = [[tokens[i].ids for i in row] for row in plan.texts]
                places = [
                    row * plan.slots + slot
                    for row, held in enumerate(plan.texts)
                    for slot in range(len(held))
                ]
                result = self.packed_runner(*packed_arrays(plan, ids))
                held = [indices[i] for row in plan.texts for i in row]
                yield _Started(held, np.asarray(places), result)

    def _tokenized(
        self, texts: Sequence[str], order: Sequence[int], size: int
    ) -> Iterator[tuple[Sequence[int], list[Tokens]]]:
        """Blocks of ``size`` texts, in order; the next is tokenized while one is computed."""
        blocks = [order[at : at + size] for at in range(0, len(order), size)]
        for block, tokens in self._ahead(texts, blocks):
            self.stats.add(
                len(tokens),
                sum(len(t.ids) for t in tokens),
                sum(t.truncated for t in tokens),
                sum(t.empty for t in tokens),
                sum(t.lossy for t in tokens),
                sum(t.unknown for t in tokens),
            )
            yield block, tokens

    def _ahead(
        self, texts: Sequence[str], blocks: Sequence[Sequence[int]]
    ) -> Iterator[tuple[Sequence[int], list[Tokens]]]:
        if len(blocks) <= 1:
            for block in blocks:
                yield block, self.tokenizer([texts[i] for i in block])
            return
        with ThreadPoolExecutor(1, thread_name_prefix="tokenizer") as pool_:
            waiting: deque[tuple[Sequence[int], Future[list[Tokens]]]] = deque()
            for block in blocks:
                waiting.append((block, pool_.submit(self.tokenizer, [texts[i] for i in block])))
                if len(waiting) > 2:
                    ready, future = waiting.popleft()
                    yield ready, future.result()
            for ready, future in waiting:
                yield ready, future.result()


@dataclass(frozen=True, slots=True)
class _Started:
    """A batch at work: texts (by index), and where in its vectors, row by row, theirs are."""

    indices: list[int]
    places: np.ndarray
    vectors: jax.Array


def describe(
    mode: str, loaded: Loaded, tokenizer: TextTokenizer, rules: TextRules, dim: int
) -> dict[str, Any]:
    """The facts of a local encoder that decide its vectors; its fingerprint is taken of them."""
    around = [*tokenizer.head, *tokenizer.prefix, *(tokenizer.tail if mode == "text" else [])]
    return {
        "version": VERSION,
        "mode": mode,
        "family": loaded.family,
        "weights_sha256": loaded.weights_sha256,
        "tokenizer_sha256": tokenizer.sha256,
        "special_tokens": [tokenizer.head, tokenizer.tail],
        **({} if around else {"empty_text": tokenizer.stand_in}),
        "dtype": loaded.dtype,
        "layers": loaded.layers,
        # Before, sums were bfloat16 as well, which gave other vectors.
        **({"sums": "float32"} if loaded.dtype == "bfloat16" and loaded.family == "bert" else {}),
        "dim": dim,
        **{key: value for key, value in asdict(rules).items() if key not in ("layer", "skip")},
        **({"skip": rules.skip} if rules.skip else {}),
    }
