"""How much of an accelerator a decoder of 8 billion parameters uses when it embeds.

    python benchmarks/utilisation.py [--layers 36] [--tokens 32768] [--lengths 512,2048]

A Qwen3-8B-shaped encoder with random weights in bfloat16 reads full batches of ``--tokens`` tokens
in sequences of each length and pools the last token. Model FLOPs are those of the matrix products
and of causal attention (half of the full square), nothing recomputed; the shares are of what one
large bfloat16 product reaches here and, with ``--peak``, of the datasheet's TFLOP/s (H100 and H200
SXM: 989). ``fused_difference``: of fused attention from plain. Prints one JSON line a length.
On a CPU try ``--layers 1 --tokens 512 --lengths 128``.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import click
import jax
import jax.numpy as jnp
from entry import begin
from flax import nnx

from pgv_jax.embed.models import fused
from pgv_jax.embed.models.attention import attend
from pgv_jax.embed.models.decoder import Decoder, DecoderConfig
from pgv_jax.embed.pooling import pool
from pgv_jax.embed.text_rules import TextRules
from pgv_jax.learner.speed import gemm_rate, peak_bytes

QWEN3_8B = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "hidden_size": 4096,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
}


def random_model(layers: int) -> Decoder:
    """The encoder with random weights, made on the device."""
    config = DecoderConfig.from_json({**QWEN3_8B, "num_hidden_layers": layers})
    graph, state = nnx.split(nnx.eval_shape(lambda: Decoder(config, jnp.dtype(jnp.bfloat16))))
    flat = dict(nnx.to_flat_state(state))
    for i, (path, param) in enumerate(flat.items()):
        norm = "norm" in str(path)

        @jax.jit
        def fill(key: jax.Array, shape: Any = param.shape, norm: bool = norm) -> jax.Array:
            if norm:
                return jnp.ones(shape, jnp.bfloat16)
            return 0.02 * jax.random.normal(key, shape, jnp.bfloat16)

        flat[path] = param.replace(fill(jax.random.key(i)))
    return nnx.merge(graph, nnx.from_flat_state(flat))


def model_flops(config: DecoderConfig, tokens: int, length: int) -> int:
    """Of reading ``tokens`` tokens in sequences of ``length``."""
    heads, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    width, inner = config.hidden_size, config.intermediate_size
    products = width * (heads + 2 * keys) + heads * width + 3 * width * inner
    attention = 2 * heads * (length + 1) / 2
    return int(2 * tokens * config.layers * (products + attention))


def measure(model: Decoder, tokens: int, length: int, rounds: int) -> dict[str, Any]:
    """Median seconds of one full batch."""
    rows = max(1, tokens // length)
    rules = TextRules(pooling="last", max_tokens=length, normalize=True)
    graph, state = nnx.split(model)

    def vectors(state: Any, ids_BL: jax.Array) -> jax.Array:
        hidden_BLD = nnx.merge(graph, state).read(ids_BL)
        return pool(hidden_BLD, jnp.ones_like(ids_BL), rules)

    ids_BL = jax.random.randint(jax.random.key(0), (rows, length), 0, model.config.vocab_size)
    begin = time.perf_counter()
    call = jax.jit(vectors).lower(state, ids_BL).compile()
    compiled = time.perf_counter() - begin
    found = call(state, ids_BL).block_until_ready()
    assert bool(jnp.isfinite(found).all())
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call(state, ids_BL).block_until_ready()
        seconds.append(time.perf_counter() - begin)
    wall = statistics.median(seconds)
    rate = model_flops(model.config, rows * length, length) / wall
    return {
        "length": length,
        "batch": rows,
        "seconds": round(wall, 4),
        "range": [round(min(seconds), 4), round(max(seconds), 4)],
        "tokens_per_s": round(rows * length / wall),
        "tflops": round(rate / 1e12, 2),
        "share_of_gemm": round(rate / gemm_rate("bfloat16"), 3),
        "compile_s": round(compiled, 1),
        "peak_gb": round((peak_bytes() or 0) / 1e9, 1),
    }


def fused_difference(length: int) -> float | None:
    """|fused - plain| / |plain| of attention, plain in float32; None where no fused kernel is."""
    keys = jax.random.split(jax.random.key(length), 3)
    query = jax.random.normal(keys[0], (2, length, 2, 4, 128), jnp.bfloat16)
    key, value = (jax.random.normal(k, (2, length, 2, 128), jnp.bfloat16) for k in keys[1:])
    if not fused.serves(query):
        return None
    at = jnp.broadcast_to(jnp.arange(length), (2, length))
    q, k, v = (x.astype(jnp.float32) for x in (query, key, value))
    exact = attend(q, k, v, at, at, None, None, jax.lax.Precision.HIGHEST)
    found = fused.attend(query, key, value).astype(jnp.float32)
    return float(jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact))


@click.command()
@click.option("--layers", default=36, show_default=True)
@click.option("--tokens", default=32768, show_default=True)
@click.option("--lengths", default="512,2048", show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--peak", type=float, help="The datasheet's bfloat16 TFLOP/s of the device.")
def main(layers: int, tokens: int, lengths: str, rounds: int, peak: float | None) -> None:
    """Measure each length."""
    model = random_model(layers)
    parameters = sum(p.size for p in jax.tree.leaves(nnx.state(model)))
    about = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "parameters": parameters,
        "gemm_tflops": round(gemm_rate("bfloat16") / 1e12, 1),
    }
    print(json.dumps(about), flush=True)
    for length in (int(part) for part in lengths.split(",")):
        told = measure(model, tokens, length, rounds)
        told["fused_difference"] = fused_difference(length)
        if peak is not None:
            told["model_flop_utilisation"] = round(told["tflops"] / peak, 3)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    begin(main)
