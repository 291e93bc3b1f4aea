"""Weights on a mesh: the same vectors, less on every device, read block by block."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RunPython

pytestmark = pytest.mark.slow

CODE = """
import sys
from pathlib import Path
import jax, numpy as np
from flax import nnx
from pgv_jax.embed.model_files import open_folder
from pgv_jax.embed.models.sharding import make_mesh

assert len(jax.devices()) == 8
options, texts = "max_tokens=16", ["a", "open the door", "x" * 40]
for folder in map(Path, sys.argv[1:]):
    one = open_folder(folder, "x", options, budget=64)
    expected = one.encode(texts)
    for data, model in ((2, 4), (8, 1)):
        encoder = open_folder(folder, "x", options, mesh=make_mesh(data, model), budget=64)
        np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)
        assert encoder.fingerprint == one.fingerprint
        leaves = jax.tree.leaves(nnx.state(encoder.loaded.model))
        here = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
        whole = sum(leaf.nbytes for leaf in leaves)
        # Norms are replicated; at these toy sizes they weigh something.
        assert here <= whole / model * 1.2, (folder, here, whole, model)
"""


def test_a_mesh_gives_the_same_vectors(qwen3: Path, bert: Path, run_python: RunPython) -> None:
    run_python(CODE, devices=8, args=(str(qwen3), str(bert)))
