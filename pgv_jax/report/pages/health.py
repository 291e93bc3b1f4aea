"""The health report as files: ``report.json`` and a page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgv_jax.files import write_whole
from pgv_jax.report.pages.html import render


def write_health(
    report: Mapping[str, Any], about: Mapping[str, Any], out_dir: str | os.PathLike[str]
) -> Path:
    """Write ``report.json`` and ``report.html``; ``about`` names artifact, dataset and the like."""
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    known = {"about": dict(about), **report}
    write_whole(out / "report.json", json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    write_whole(out / "report.html", render("health.html", report=report, about=about))
    return out / "report.html"
