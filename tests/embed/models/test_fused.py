from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pgv_jax.embed.models import fused
from pgv_jax.embed.models.decoder import Decoder
from pgv_jax.embed.models.load import folder_weights, load_model, read_sizes
from tests.embed import folders


def test_reading_without_a_mask_gives_the_same_at_the_tokens(tmp_path):
    folder = folders.write_folder(tmp_path, folders.QWEN3)
    model = load_model(folder_weights(folder), read_sizes(folder), jnp.dtype(jnp.float32)).model
    assert isinstance(model, Decoder)
    ids_BL = jax.random.randint(jax.random.key(0), (3, 12), 0, model.config.vocab_size)
    mask_BL = (jnp.arange(12)[None] < jnp.asarray([12, 7, 1])[:, None]).astype(jnp.int32)
    masked, plain = model(ids_BL, mask_BL), model.read(ids_BL)
    assert np.abs(np.where(mask_BL[..., None], masked - plain, 0)).max() <= 1e-5


def test_the_fused_kernel_is_for_a_gpu_and_half_precision():
    query = jnp.zeros((1, 8, 2, 2, 64))
    assert not fused.serves(query)
    assert fused.serves(query.astype(jnp.bfloat16)) == (jax.default_backend() == "gpu")
