"""Import it where programs are compiled: they are kept for the rest of the run, in every process.

Most of what a short training costs is compiling, and many tests train the same critic. The folder
is the run's (``conftest.py``), so that its workers share what they compile.
"""

from __future__ import annotations

import os

import jax

SETTINGS = {
    "jax_compilation_cache_dir": os.environ["PGV_TEST_PROGRAMS"],
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for name, value in SETTINGS.items():  # in the environment too, for subprocesses
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)
