"""Import it where programs are compiled: they are kept for the rest of the run, in every process.

Most of what a short training costs is compiling, and many tests train the same critic.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import jax

# In the environment too: subprocesses share the folder.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder = tempfile.mkdtemp(prefix="pgv-xla-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
SETTINGS = {
    "jax_compilation_cache_dir": os.environ["JAX_COMPILATION_CACHE_DIR"],
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for name, value in SETTINGS.items():
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)
