"""Text encoders side by side: ours, sentence-transformers (torch) and onnxruntime.

``python benchmarks/encoder.py [--texts 1000] [--rounds 7] [--folder MODEL]`` prints one JSON line
a case. Rounds alternate (A B C A B C ...) in one process; a ratio is the median over rounds of
rival seconds / our seconds, with its range. Texts are the distinct lines of real logs where
``../shared/data`` has some, else a generated corpus; nothing is deduplicated for anyone.
Rivals that are not installed are left out. onnxruntime runs the model folder's own
``onnx/model.onnx``, or what torch exports of it for the benchmark. The case ``bfloat16`` is ours in
that type against ours and the rivals in float32, with its least cosine to ours in float32.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.embed.local import minilm_folder, open_folder
from pgv_jax.embed.text_mode import TextEncoder

CASES = ("bulk", "decision-1", "decision-7", "bfloat16")
Encode = Callable[[list[str]], np.ndarray]
SENTENCES = (
    "the agent opens a fridge and takes one potato then cools it near the desk but nothing happens "
    "so it looks around drawer shelf cabinet microwave lamp mug clean hot goal result search click"
)


def corpus(count: int, seed: int = 0) -> tuple[str, list[str]]:
    """(where from, ``count`` distinct texts), the same ones for the same seed."""
    rng = random.Random(seed)
    logs = sorted(Path(__file__).parents[2].glob("shared/data/knowagent/*.jsonl"))
    lines = list(dict.fromkeys(line for path in logs for line in _lines(path)))
    if len(lines) >= count:
        return "logs", rng.sample(lines, count)
    words, lengths = SENTENCES.split(), rng.choices([4, 8, 16, 16, 32, 64], k=count)
    return "generated", [" ".join(rng.choices(words, k=length)) for length in lengths]


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for record in file:
            for value in json.loads(record).values():
                if isinstance(value, str):
                    yield from (line.strip() for line in value.splitlines() if line.strip())


def torch_rival(folder: Path) -> Encode | None:
    """sentence-transformers on the CPU with its own defaults."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return lambda texts: np.asarray(model.encode(texts, show_progress_bar=False))


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
    ids = torch.ones(3, 16, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Hidden().eval(),
            (ids, ids, 0 * ids),
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
        ratios = [a / b for a, b in zip(wall[name], wall["ours"], strict=True)]
        found[name] = {
            "texts_per_s": round(len(texts) / statistics.median(wall[name]), 1),
            "cpu_s": round(statistics.median(cpu[name]), 3),
            "ours_is_faster_by": round(statistics.median(ratios), 3),
            "range": [round(min(ratios), 3), round(max(ratios), 3)],
            "max_abs_difference": float(np.abs(vectors[name] - vectors["ours"]).max()),
            "least_cosine": round(float((vectors[name] * vectors["ours"]).sum(1).min()), 6),
        }
    return found


def main() -> None:
    """Print one JSON line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="a model folder; default: MiniLM's package")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    options = parser.parse_args()
    folder = options.folder or minilm_folder()
    ours = open_folder(folder, "benchmark", plain_tokenizer=options.folder is None)
    assert isinstance(ours, TextEncoder)
    ours.warm_up()
    warm = ours.compilations
    systems: dict[str, Encode] = {"ours": ours.encode}
    for name, rival in (("torch", torch_rival(folder)), ("onnx", onnx_rival(folder, ours))):
        if rival is not None:
            systems[name] = rival
    source, texts = corpus(options.texts)
    cases = {
        "bulk": (texts, options.rounds),
        "decision-1": (texts[:1], 3 * options.rounds),
        "decision-7": (sorted(texts, key=len)[len(texts) // 2 :][:7], 3 * options.rounds),
        "bfloat16": (texts, options.rounds),
    }
    packages = ("jax", "torch", "sentence-transformers", "onnxruntime", "transformers")
    for name in options.cases:
        part, rounds = cases[name]
        load = os.getloadavg()[0]
        line = {
            "case": name,
            "model": folder.name if options.folder else "minilm",
            "texts": len(part),
            "source": source,
            "rounds": rounds,
            "systems": measure(systems | extra(name, folder, options), part, rounds),
            "recompilations": ours.compilations - warm,
            "bfloat16_instructions": flags(),
            "load_before": round(load, 2),
            "contended": load > 1,
            "cores": os.cpu_count(),
            "versions": {p: _version(p) for p in packages},
        }
        print(json.dumps(line))
        sys.stdout.flush()


def extra(case: str, folder: Path, options: argparse.Namespace) -> dict[str, Encode]:
    """What only one case compares with."""
    if case != "bfloat16":
        return {}
    encoder = open_folder(
        folder, "benchmark", "dtype=bfloat16", plain_tokenizer=options.folder is None
    )
    assert isinstance(encoder, TextEncoder)
    encoder.warm_up()
    return {"ours_bfloat16": encoder.encode}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
