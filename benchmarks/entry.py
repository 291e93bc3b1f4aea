"""How a benchmark begins: what is wrong with its input ends it with one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pgv_jax.errors import PgvError


def begin(main: Callable[[], Any]) -> None:
    """Call ``main``; a PgvError is printed without a traceback, with exit status 1."""
    try:
        main()
    except PgvError as error:
        sys.exit(f"Error: {error}")
