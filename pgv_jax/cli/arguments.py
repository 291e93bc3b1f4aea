"""What no command can use as an argument, said before one tries."""

from __future__ import annotations

from collections.abc import Sequence

from pgv_jax.errors import PgvError


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise PgvError for an argument with a NUL, or with bytes that are not UTF-8."""
    for argument in arguments:
        shown = ascii(argument)[:80]
        if "\0" in argument:
            raise PgvError(f"The argument {shown} holds a NUL character, which no path can have.")
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise PgvError(
                f"The argument {shown} is not UTF-8 text. If it names a file, rename the file."
            ) from None
