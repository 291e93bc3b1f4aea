from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgv_jax.embed.models import fused
from pgv_jax.embed.models.attention import attend
from pgv_jax.embed.models.decoder import Decoder
from pgv_jax.embed.models.load import load_model, read_sizes
from tests.embed import folders

on_gpu = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")


def test_reading_without_a_mask_gives_the_same_at_the_tokens(tmp_path):
    folder = folders.write_folder(tmp_path, folders.QWEN3)
    model = load_model(folder, read_sizes(folder), jnp.dtype(jnp.float32)).model
    assert isinstance(model, Decoder)
    ids_BL = jax.random.randint(jax.random.key(0), (3, 12), 0, model.config.vocab_size)
    mask_BL = (jnp.arange(12)[None] < jnp.asarray([12, 7, 1])[:, None]).astype(jnp.int32)
    masked, plain = model(ids_BL, mask_BL), model.read(ids_BL)
    assert np.abs(np.where(mask_BL[..., None], masked - plain, 0)).max() <= 1e-5


def test_the_fused_kernel_is_for_a_gpu_and_half_precision():
    query = jnp.zeros((1, 8, 2, 2, 64))
    assert not fused.serves(query)
    assert fused.serves(query.astype(jnp.bfloat16)) == (jax.default_backend() == "gpu")


@on_gpu
@pytest.mark.parametrize("length", [16, 200, 1500])
def test_the_fused_kernel_equals_plain_attention(length):
    keys = jax.random.split(jax.random.key(length), 3)
    query = jax.random.normal(keys[0], (2, length, 2, 4, 128), jnp.bfloat16)
    key, value = (jax.random.normal(k, (2, length, 2, 128), jnp.bfloat16) for k in keys[1:])
    at = jnp.broadcast_to(jnp.arange(length), (2, length))
    exact = attend(
        *(x.astype(jnp.float32) for x in (query, key, value)),
        *(at, at, None, None, jax.lax.Precision.HIGHEST),
    )
    found = fused.attend(query, key, value).astype(jnp.float32)
    assert jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact) < 1e-2
