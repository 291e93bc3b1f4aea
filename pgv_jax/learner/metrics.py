"""``metrics.jsonl``: one JSON object a log point, kept consistent over interruptions."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class MetricsFile:
    """Append-only lines with a ``step``; opening for a resumed run drops what lies after it."""

    def __init__(self, path: Path, after: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= after:
                        kept.append(line + "\n")
                except (ValueError, KeyError, TypeError):
                    continue  # the torn last line of a killed run
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept), "utf-8")
        os.replace(temporary, path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """Write one line and flush it."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
