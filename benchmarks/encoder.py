"""Text encoders side by side: ours, sentence-transformers (torch) and onnxruntime.

``python benchmarks/encoder.py [--texts 1000] [--rounds 7] [--folder MODEL] [--source LOG]`` prints
one JSON line a case. Rounds alternate (A B C A B C ...) in one process; a ratio is the median over
rounds of rival seconds / our seconds, with its range. Texts are those of tau-bench's episodes, else
of KnowAgent's, where ``../shared/data`` has them, else a generated corpus; nothing is deduplicated
for anyone. Rivals that are not installed are left out. onnxruntime runs the model folder's own
``onnx/model.onnx``, or what torch exports of it for the benchmark.

The case ``bfloat16`` adds ours and torch's in that type, each with its least cosine to float32.
The case ``repeats`` embeds ``--episodes`` episodes with windows of 3 turns in three ways: every
text, each distinct one, and ``turns:``. Tokens are counted over all episodes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from encoder_texts import SOURCES, corpus, episodes_of, every_text
from entry import begin

from pgv_jax.embed.model_files import minilm_folder, open_folder
from pgv_jax.embed.pooled_encoder import PooledEncoder
from pgv_jax.embed.text_mode import TextEncoder
from pgv_jax.texts.segments import turns

CASES = ("bulk", "decision-1", "decision-7", "bfloat16", "repeats")
HISTORY = 3
Encode = Callable[[list[str]], np.ndarray]


def torch_rival(folder: Path, *, bfloat16: bool = False) -> Encode | None:
    """sentence-transformers on the CPU with its own defaults, in float32 or bfloat16."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    if bfloat16:
        model = model.bfloat16()
    return lambda texts: np.asarray(
        model.encode(texts, show_progress_bar=False, convert_to_tensor=True).float()
    )


def onnx_rival(folder: Path, ours: TextEncoder) -> Encode | None:
    """onnxruntime on the model's ONNX form, in batches of 32 sorted by length, mean pooling."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    path = folder / "onnx" / "model.onnx"
    with tempfile.TemporaryDirectory() as temporary:
        if not path.exists():
            if importlib.util.find_spec("onnxscript") is None:
                return None
            path = Path(temporary) / "model.onnx"
            export_onnx(folder, path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}

    def encode(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        vectors = np.empty((len(texts), ours.dim), np.float32)
        for at in range(0, len(texts), 32):
            part = order[at : at + 32]
            rows = [entry.ids for entry in ours.tokenizer([texts[i] for i in part])]
            mask = np.zeros((len(rows), max(map(len, rows))), np.int64)
            ids = np.zeros_like(mask)
            for i, row in enumerate(rows):
                ids[i, : len(row)], mask[i, : len(row)] = row, 1
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
            hidden = session.run(None, {n: v for n, v in feeds.items() if n in names})[0]
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            vectors[part] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return vectors

    return encode


def export_onnx(folder: Path, path: Path) -> None:
    """Write last hidden states of a BERT folder as ONNX with free batch and length, by torch."""
    import torch
    from transformers import AutoModel

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(folder, local_files_only=True)

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=2, max=512)
    # Three tensors: of one that is given twice, the export makes one input.
    ids, mask = torch.full((3, 16), 7), torch.ones(3, 16, dtype=torch.int64)
    mask[1, 9:] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Hidden().eval(),
            (ids, mask, 0 * ids),
            path,
            input_names=["input_ids", "attention_mask", "token_type_ids"],
            output_names=["last_hidden_state"],
            dynamic_shapes=({0: batch, 1: length},) * 3,
            external_data=False,
            verbose=False,
        )


def flags() -> list[str]:
    """Which bfloat16 instructions the CPU has; amx_bf16 is a matrix unit, avx512_bf16 is none."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return []
    return sorted({"amx_bf16", "avx512_bf16"} & set(words))


def measure(systems: dict[str, Encode], texts: list[str], rounds: int) -> dict[str, Any]:
    """Alternating rounds: seconds and CPU seconds of each system, ratios to ours."""
    wall: dict[str, list[float]] = {name: [] for name in systems}
    cpu: dict[str, list[float]] = {name: [] for name in systems}
    vectors = {name: encode(texts) for name, encode in systems.items()}  # warm-up
    for _ in range(rounds):
        for name, encode in systems.items():
            started, used = time.perf_counter(), time.process_time()
            encode(texts)
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)
    found: dict[str, Any] = {}
    for name in systems:
        found[name] = {
            "seconds": round(statistics.median(wall[name]), 3),
            "texts_per_s": round(len(texts) / statistics.median(wall[name]), 1),
            "cpu_s": round(statistics.median(cpu[name]), 3),
            "max_abs_difference": float(np.abs(vectors[name] - vectors["ours"]).max()),
            **{
                f"{ours}_is_faster_by": ratio(wall[name], wall[ours])
                for ours in wall
                if ours.startswith("ours")
            },
            "least_cosine": round(float((vectors[name] * vectors["ours"]).sum(1).min()), 6),
        }
    return found


def ratio(theirs: list[float], ours: list[float]) -> list[float]:
    """Median, least and greatest of their seconds / ours, round by round."""
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return [round(f(ratios), 3) for f in (statistics.median, min, max)]


def repeats(encoder: TextEncoder, source: str, count: int, rounds: int) -> dict[str, Any]:
    """Tokens and seconds of every text of some episodes, of the distinct ones, of ``turns:``."""
    name, episodes = episodes_of(source)
    systems: dict[str, Callable[[list[str]], object]] = {
        "every_text": encoder.encode,
        "distinct": lambda texts: encoder.encode(list(dict.fromkeys(texts))),
        # A new one each time: it keeps the vectors of parts.
        "turns": lambda texts: PooledEncoder("turns", encoder).encode(list(dict.fromkeys(texts))),
    }
    whole = every_text(episodes, HISTORY)
    lengths: dict[str, int] = {}
    for system, texts in (
        ("every_text", whole),
        ("distinct", list(dict.fromkeys(whole))),
        ("turns", list(dict.fromkeys(part for text in whole for part in turns(text)))),
    ):
        lengths[system] = sum(len(entry.ids) for entry in encoder.tokenizer(texts))
        lengths[f"{system}_texts"] = len(texts)
    part = every_text(episodes[:count], HISTORY)
    wall: dict[str, list[float]] = {system: [] for system in systems}
    tokens = {}
    for _ in range(rounds):
        for system, encode in systems.items():
            before, started = encoder.stats.tokens, time.perf_counter()
            encode(part)
            wall[system].append(time.perf_counter() - started)
            tokens[system] = encoder.stats.tokens - before
    return {
        "source": name,
        "history": HISTORY,
        "episodes": [count, len(episodes)],
        "all_episodes": lengths,
        "tokens": tokens,
        "seconds": {k: round(statistics.median(v), 2) for k, v in wall.items()},
        "every_text_over": {k: ratio(wall["every_text"], v) for k, v in wall.items()},
        "distinct_over": {k: ratio(wall["distinct"], v) for k, v in wall.items()},
    }


def main() -> None:
    """Print one JSON line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--episodes", type=int, default=20, help="of the case repeats")
    parser.add_argument("--source", choices=SOURCES, default="auto")
    parser.add_argument("--folder", type=Path, help="a model folder; default: MiniLM's package")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    options = parser.parse_args()
    source, texts = corpus(options.texts, options.source)
    cases = {
        "bulk": (texts, options.rounds),
        "decision-1": (texts[:1], 3 * options.rounds),
        "decision-7": (sorted(texts, key=len)[len(texts) // 2 :][:7], 3 * options.rounds),
        "bfloat16": (texts, options.rounds),
    }
    ours = opened(options)
    rivals: dict[str, Encode] = {}
    for name in options.cases:
        load, warm = os.getloadavg()[0], {"ours": ours.compilations}
        line = {"case": name, "model": options.folder.name if options.folder else "minilm"}
        if name == "repeats":
            line |= repeats(ours, source, options.episodes, options.rounds)
        else:
            rivals = rivals or found_rivals(options, ours)
            part, rounds = cases[name]
            systems: dict[str, Encode] = {"ours": ours.encode, **rivals}
            if name == "bfloat16":
                half = opened(options, "dtype=bfloat16")
                systems["ours_bfloat16"] = half.encode
                warm["ours_bfloat16"] = half.compilations
                theirs = torch_rival(folder_of(options), bfloat16=True)
                systems |= {} if theirs is None else {"torch_bfloat16": theirs}
            tokens = ours.tokenizer(part)
            line |= {
                "texts": len(part),
                "tokens": sum(len(entry.ids) for entry in tokens),
                "truncated": sum(entry.truncated for entry in tokens),
                "source": source,
                "rounds": rounds,
                "systems": measure(systems, part, rounds),
            }
            if name == "bfloat16":
                warm["ours_bfloat16"] = half.compilations - warm["ours_bfloat16"]
        warm["ours"] = ours.compilations - warm["ours"]
        line |= {"recompilations": warm, **surroundings(load)}
        print(json.dumps(line), flush=True)


def surroundings(load: float) -> dict[str, Any]:
    """The machine, and how busy it was before."""
    packages = ("jax", "torch", "sentence-transformers", "onnxruntime", "transformers")
    return {
        "bfloat16_instructions": flags(),
        "load_before": round(load, 2),
        "contended": load > 1,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {p: _version(p) for p in packages},
    }


def folder_of(options: argparse.Namespace) -> Path:
    """The model to be timed."""
    return options.folder or minilm_folder()


def opened(options: argparse.Namespace, spec: str = "") -> TextEncoder:
    """Our encoder, every shape compiled."""
    folder, plain = folder_of(options), options.folder is None
    encoder = open_folder(folder, "benchmark", spec, plain_tokenizer=plain)
    assert isinstance(encoder, TextEncoder)
    encoder.warm_up()
    return encoder


def found_rivals(options: argparse.Namespace, ours: TextEncoder) -> dict[str, Encode]:
    """Those that are installed."""
    folder = folder_of(options)
    rivals = {"torch": torch_rival(folder), "onnx": onnx_rival(folder, ours)}
    return {name: rival for name, rival in rivals.items() if rival is not None}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    begin(main)
