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
                raise PgvError(
                    f"{out} holds {what} with {key} = {known.get(key)}, and this one has {value}; "
                    "choose another --out, or remove that folder."
                )
        return
    if fresh and out.exists() and any(out.iterdir()):
        raise PgvError(f"{out} exists and is not {what} of ours; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)
