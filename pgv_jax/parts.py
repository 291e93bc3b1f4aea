"""The parts of an installation, and the sentence where one is needed and missing.

A part is an extra of the package (docs/install.md). What needs one imports it inside ``part``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgv_jax.errors import PgvError


class MissingPart(PgvError):
    """Something needs a package that is not installed; the sentence ends with the line for it."""


def pip_line(extra: str = "", alone: str = "") -> str:
    """The command that installs an extra, and with ``alone`` a package without its requirements."""
    lines = [f"pip install 'pgv-jax[{extra}]'"] if extra else []
    lines += [f"pip install --no-deps {alone}"] if alone else []
    return " && ".join(lines)


def missing(use: str, package: str, extra: str = "", alone: str = "") -> MissingPart:
    """The error of a use that needs a package; ``extra`` and ``alone`` as of ``pip_line``."""
    return MissingPart(
        f"{use} needs {package}, which is not installed; run: {pip_line(extra, alone)}"
    )


@contextmanager
def part(extra: str, use: str, alone: str = "") -> Iterator[None]:
    """Import what ``use`` needs; a package that is not installed is a MissingPart.

    A module that is there and fails otherwise raises its own error: no installation helps it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = error.name or ""
        if name.partition(".")[0] == "pgv_jax":
            raise
        raise missing(use, name, extra, alone) from None
