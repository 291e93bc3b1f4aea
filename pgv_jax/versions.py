"""What a result was made with."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata

from pgv_jax import __version__

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "transformers", "tensorflow-datasets")
"""What results of this package are told with."""


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of pgv_jax, Python and those of the packages that are installed."""
    found = {"pgv_jax": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
