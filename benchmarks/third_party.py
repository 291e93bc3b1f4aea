"""llama.cpp's own server over a model of random weights: somebody else's OpenAI-compatible wire.

In an environment of its own, ``pip install xllamacpp gguf`` (prebuilt; nothing of it is needed by
pgv), then ``python benchmarks/third_party.py [--embeddings] [--port 8771]`` writes a Llama of some
100,000 parameters with a byte tokenizer and serves it until Ctrl-C. docs/servers.md says what to
ask of it. What it says is noise; how it says it is llama.cpp's.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, FORWARD = 64, 2, 4, 128
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_letters() -> list[str]:
    """GPT-2's letter of each byte: printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def write_model(path: Path, context: int, seed: int = 0) -> None:
    """A Llama with random weights and one token a byte."""
    rng = np.random.default_rng(seed)
    tokens = [*SPECIAL, *byte_letters(), "th"]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * 257
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(SPECIAL.index("<|im_end|>"))
    writer.add_chat_template(TEMPLATE)

    def add(name: str, *shape: int) -> None:
        norm = name.endswith("norm.weight")
        weight = np.ones(shape) if norm else rng.normal(0, shape[-1] ** -0.5, shape)
        writer.add_tensor(name, weight.astype(np.float32))

    add("token_embd.weight", len(tokens), WIDTH)
    add("output_norm.weight", WIDTH)
    add("output.weight", len(tokens), WIDTH)
    for layer in range(LAYERS):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{part}.weight", WIDTH, WIDTH)
        for part in ("ffn_gate", "ffn_up"):
            add(f"blk.{layer}.{part}.weight", FORWARD, WIDTH)
        add(f"blk.{layer}.ffn_down.weight", WIDTH, FORWARD)
        for part in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{part}.weight", WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Write the model and serve it."""
    import xllamacpp

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8771)
    parser.add_argument("--embeddings", action="store_true", help="embeddings in place of chat")
    parser.add_argument("--context", type=int, default=16384, help="tokens of one request")
    parser.add_argument("--key", default="", help="the one key that is let in")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.gguf"
        write_model(path, asked.context)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.model_alias = {"random"}
        params.n_parallel, params.n_ctx = 4, 4 * asked.context
        params.hostnames, params.port = ["127.0.0.1"], asked.port
        params.cpuparams.n_threads = 1
        if asked.key:
            params.api_keys = [asked.key]
        if asked.embeddings:
            params.embedding = True
            params.n_batch = params.n_ubatch = asked.context  # a text is one batch: 512 by default
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        server = xllamacpp.Server(params)
        print(server.listening_address + "/v1", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
