"""Where compiled programs are kept between commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def keep_compiled() -> None:
    """Let JAX keep XLA's programs, small ones too, in the user's cache folder.

    Does not load JAX, which reads these environment variables when it is imported; processes that a
    command starts inherit them. One that is set stays: JAX_COMPILATION_CACHE_DIR names another
    folder, and JAX_ENABLE_COMPILATION_CACHE=false keeps nothing.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    settings = {
        "jax_compilation_cache_dir": str(home / "pgv_jax" / "xla"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        if os.environ.get(name.upper()):
            continue
        os.environ[name.upper()] = str(value)
        if "jax" in sys.modules:  # imported before, and so told apart
            sys.modules["jax"].config.update(name, value)
