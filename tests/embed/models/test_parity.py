"""Hidden states equal those of transformers' torch models, over random small configs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pgv_jax.embed.models.load import folder_weights, load_model, read_sizes
from tests.embed import folders

torch = pytest.importorskip("torch", reason="parity with transformers needs torch")

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
pytestmark = pytest.mark.usefixtures("as_shipped")

LENGTH = 64
CASES: dict[str, dict[str, Any]] = {
    "minilm": {**folders.BERT},
    "bge-relu": {**folders.BERT, "hidden_act": "relu", "num_hidden_layers": 1},
    "e5-wide": {**folders.BERT, "hidden_size": 48, "layer_norm_eps": 1e-6},
    "llama2": {**folders.LLAMA, "num_key_value_heads": 4, "rope_theta": 10000.0},
    "llama3": {**folders.LLAMA, "rope_theta": 500000.0, "rope_scaling": LLAMA3},
    "llama-linear": {
        **folders.LLAMA,
        "num_key_value_heads": 1,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    },
    "llama-bias": {**folders.LLAMA, "attention_bias": True, "head_dim": 12},
    "qwen2": {**folders.QWEN2, "rope_theta": 1e6, "tie_word_embeddings": True},
    "qwen2-sliding": {
        **folders.QWEN2,
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 1,
    },
    "qwen3": {**folders.QWEN3, "rope_theta": 1e6, "tie_word_embeddings": True},
    "qwen3-gqa1": {**folders.QWEN3, "num_key_value_heads": 1, "rope_theta": 2e4},
    "qwen3-bias": {**folders.QWEN3, "attention_bias": True, "num_key_value_heads": 4},
    "qwen3-new-rope": {
        **folders.QWEN3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 3e5},
    },
}


def reference(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoModel

        model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def batch(seed: int, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Texts of 1 to 64 tokens in one array, so that a model is compiled once."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 255, (6, LENGTH)).astype(np.int32)
    counts = np.array([LENGTH, 1, *rng.integers(2, LENGTH, 4)])
    mask = (np.arange(LENGTH)[None] < counts[:, None]).astype(np.int32)
    return ids, mask if side == "right" else np.ascontiguousarray(mask[:, ::-1])


def run(model: Any, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray(nnx.jit(lambda m, i, k: m(i, k))(model, ids, mask).astype(jnp.float32))


@pytest.mark.parametrize("name", CASES)
def test_hidden_states_equal_torch(name: str, tmp_path: Path) -> None:
    folder = folders.write_folder(tmp_path, CASES[name], seed=len(name))
    theirs, sizes = reference(folder), read_sizes(folder)
    ours = load_model(folder_weights(folder), sizes, jnp.dtype(jnp.float32)).model
    # transformers numbers BERT's positions from the array's start, so it pads on the right only.
    for seed, side in enumerate(["right", "left"] if sizes.causal else ["right", "right"]):
        ids, mask = batch(seed, side)
        with torch.no_grad():
            output = theirs(
                input_ids=torch.tensor(ids, dtype=torch.long), attention_mask=torch.tensor(mask)
            )
        difference = np.abs(run(ours, ids, mask) - output.last_hidden_state.numpy())[mask > 0]
        assert difference.max() <= 1e-4, (side, difference.max())


@pytest.mark.parametrize("name", ["minilm", "qwen3", "llama3"])
@pytest.mark.parametrize("layer", [0, 1])
def test_layer_choice_counts_as_hidden_states_do(name: str, layer: int, tmp_path: Path) -> None:
    folder = folders.write_folder(tmp_path, CASES[name])
    ids, mask = batch(1, "right")
    ours = load_model(
        folder_weights(folder), read_sizes(folder), jnp.dtype(jnp.float32), layer
    ).model
    found = run(ours, ids, mask)
    with torch.no_grad():
        states = reference(folder)(
            input_ids=torch.tensor(ids, dtype=torch.long),
            attention_mask=torch.tensor(mask),
            output_hidden_states=True,
        ).hidden_states
    np.testing.assert_allclose(found[mask > 0], states[layer].numpy()[mask > 0], atol=1e-4)


@pytest.mark.parametrize(("name", "least"), [("qwen3", 0.99), ("minilm", 0.999)])
def test_bfloat16_stays_near_float32(name: str, least: float, tmp_path: Path) -> None:
    folder = folders.write_folder(tmp_path, CASES[name])
    ids, mask = batch(1, "right")
    sizes = read_sizes(folder)
    exact = run(load_model(folder_weights(folder), sizes, jnp.dtype(jnp.float32)).model, ids, mask)[
        mask > 0
    ]
    model = load_model(folder_weights(folder), sizes, jnp.dtype(jnp.bfloat16)).model
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(nnx.state(model)))
    rounded = run(model, ids, mask)[mask > 0]
    norms = np.linalg.norm(exact, axis=-1) * np.linalg.norm(rounded, axis=-1)
    assert least < ((exact * rounded).sum(-1) / norms).min() < 1.0
