"""Rows of a mapped file are what the file says, and reading them maps nothing."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from pgv_jax.errors import PgvError
from pgv_jax.learner.row_files import Rows


def resident(path: Path) -> int:
    """Bytes of a file that this process has mapped in, as Linux tells."""
    told, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            told += int(line.split()[1]) << 10
    return told


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="needs Linux's /proc")
def test_what_is_read_is_not_mapped(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(8192 * 1024, dtype=np.float32).reshape(8192, 1024))
    array, held = np.load(path, mmap_mode="r"), Rows()
    for start in range(0, 8192, 64):
        wanted = np.arange(start, start + 64)
        np.testing.assert_array_equal(held.read(array, wanted)[:, 0], wanted * 1024.0)
    assert resident(path) < 4 << 20
    assert array[:, 0].sum() > 0 and resident(path) > 16 << 20


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rows_are_those_that_numpy_picks(tmp_path, dtype):
    path, values = tmp_path / "rows.npy", np.arange(60.0).reshape(20, 3)
    np.save(
        path, values.astype(dtype).view(np.uint16) if dtype == "bfloat16" else values.astype(dtype)
    )
    mapped = np.load(path, mmap_mode="r")
    array = mapped.view(ml_dtypes.bfloat16) if dtype == "bfloat16" else mapped
    wanted, held = np.asarray([[0, 19, 7], [-1, 7, -20]]), Rows()
    for part in (array, array[0:], array[:, ::-1], np.asarray(array), values):
        got = held.read(part, wanted)
        np.testing.assert_array_equal(got, part[wanted])
        assert got.dtype == part.dtype
    np.testing.assert_array_equal(held.read(array[5:], wanted[0, :1]), array[5:6])
    with pytest.raises(IndexError):
        held.read(array, np.asarray([20]))


def test_a_file_that_ends_early_is_named(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.ones((20, 3)))
    array = np.load(path, mmap_mode="r")
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(PgvError, match=r"rows\.npy ends before its row 19"):
        Rows().read(array, np.asarray([0, 19]))
