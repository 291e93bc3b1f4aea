"""Rows of a mapped file are what the file says, and its pages do not pile up."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pgv_jax.learner import rows as reading


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
def test_pages_are_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "KEPT_BYTES", 1 << 20)
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(8192 * 1024, dtype=np.float32).reshape(8192, 1024))
    array = np.load(path, mmap_mode="r")
    held = reading.Rows()
    for start in range(0, 8192, 64):
        wanted = np.arange(start, start + 64)
        np.testing.assert_array_equal(held.read(array, wanted)[:, 0], wanted * 1024.0)
    assert resident(path) < 8 << 20
    assert array[:, 0].sum() > 0 and resident(path) > 16 << 20


def test_arrays_in_memory_are_read_too():
    array = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(reading.Rows().read(array, np.asarray([[3, 0]])), array[[[3, 0]]])
