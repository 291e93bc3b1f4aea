"""A folder belongs to one run: what was asked is noted there, and another run is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.files import write_json


def claim(path: Path, what: str, asked: Mapping[str, Any], *, fresh: bool = False) -> None:
    """Write ``asked`` (JSON values) to ``path``, or compare it with what stands there.

    Another value of a key is a PgvError that names both; ``what`` is what the folder holds, with
    its article. ``fresh``: a folder that has other things in it and no note is refused.
    """
    asked, out = json.loads(json.dumps(asked)), path.parent
    if out.exists() and not out.is_dir():
        raise PgvError(f"{out} is a file, and {what} needs a folder; choose another --out.")
    if path.exists():
        known = json.loads(path.read_text("utf-8"))
        for key, value in asked.items():
            if known.get(key) != value:
                name, there, here = _difference(key, known.get(key), value)
                raise PgvError(
                    f"{out} holds {what} with {name} = {there}, and this one has {here}; "
                    "choose another --out, or remove that folder."
                )
        return
    if fresh and out.exists() and any(out.iterdir()):
        raise PgvError(f"{out} exists and is not {what} of ours; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)


def _difference(name: str, there: Any, here: Any) -> tuple[str, Any, Any]:
    """The first value that differs, by its dotted name; None stands for one that is absent."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys((*here, *there)):
            if there.get(key) != here.get(key) or (key in there) != (key in here):
                return _difference(f"{name}.{key}", there.get(key), here.get(key))
    return name, there, here
