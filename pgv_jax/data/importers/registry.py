"""The importers by name, those that users register, and which of them fits a file.

Users add one with an entry point of the group ``pgv_jax.importers`` (docs/importing.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from pgv_jax.data.importers.base import UNFIT, Detection, Importer, Sample
from pgv_jax.data.importers.files.records import head_of, kind_of_file, sample_records
from pgv_jax.data.importers.formats.agents.atif import ATIF
from pgv_jax.data.importers.formats.agents.inspect_log import InspectLog
from pgv_jax.data.importers.formats.benchmarks.avalon import Avalon
from pgv_jax.data.importers.formats.benchmarks.webshop_human import WebShopHuman
from pgv_jax.data.importers.formats.chats.anthropic_messages import AnthropicMessages
from pgv_jax.data.importers.formats.chats.openai_messages import OpenAIMessages
from pgv_jax.data.importers.formats.chats.sharegpt import ShareGPT
from pgv_jax.data.importers.formats.tables.episodes_jsonl import EpisodesJSONL
from pgv_jax.data.importers.formats.tables.rlds_folder import RLDS
from pgv_jax.data.importers.formats.texts.dialogue import Dialogue
from pgv_jax.data.importers.formats.texts.react import ReAct, notebook_output
from pgv_jax.errors import PgvError

GROUP = "pgv_jax.importers"
SURE = 0.5
"""Below this an importer does not count as a candidate."""
CLEAR = 0.2
"""The best candidate must lead the second by this much."""

BUILT_IN: dict[str, Importer] = {
    importer.name: importer
    for importer in (
        EpisodesJSONL(),
        OpenAIMessages(),
        ATIF(),
        InspectLog(),
        ShareGPT(),
        AnthropicMessages(),
        ReAct(),
        Dialogue(),
        RLDS(),
        WebShopHuman(),
        Avalon(),
    )
}


@lru_cache(maxsize=1)
def importers() -> Mapping[str, Importer]:
    """Return all importers by name: the built-in ones and those of entry points."""
    found = dict(BUILT_IN)
    for point in metadata.entry_points(group=GROUP):
        try:
            importer = point.load()()
        except Exception as error:  # somebody else's module may raise anything
            raise PgvError(
                f"The importer '{point.name}' ({point.value}) cannot be loaded: {error}."
            ) from error
        if not isinstance(importer, Importer):
            raise PgvError(
                f"The importer '{point.name}' ({point.value}) is not a subclass of "
                "pgv_jax.data.importers.base.Importer."
            )
        found[point.name] = importer
    return found


def importer_of(name: str) -> Importer:
    """Return the importer of that name."""
    known = importers()
    if name not in known:
        raise PgvError(f"There is no format '{name}'; use auto or one of {', '.join(known)}.")
    return known[name]


def sample_of(path: Path) -> Sample:
    """Read the beginning of a file, as much as detection needs."""
    if not path.exists():
        raise PgvError(f"{path} does not exist.")
    kind = kind_of_file(path)
    if kind in ("json", "jsonl", "csv", "parquet"):
        return Sample(path, kind, records=tuple(sample_records(path)))
    if kind == "notebook":
        try:
            return Sample(path, kind, text=notebook_output(path)[:65536])
        except PgvError as error:
            raise PgvError(f"{path}: {error}.") from None
    if kind == "text":
        return Sample(path, kind, text=head_of(path).decode("utf-8", "replace"))
    return Sample(path, kind)


class Found(NamedTuple):
    """The importer that fits a file, and why."""

    importer: Importer
    why: str


def detect(path: Path) -> Found:
    """Return the one importer that clearly fits; none or several is an error that lists them."""
    sample = sample_of(path)
    fits: list[tuple[float, str, str]] = []
    for name, importer in importers().items():
        try:
            detection = importer.detect(sample)
        except UNFIT:
            detection = Detection(0.0, "")
        if detection.confidence >= SURE:
            fits.append((detection.confidence, name, detection.why))
    fits.sort(key=lambda fit: (-fit[0], fit[1]))
    if not fits:
        keys = ", ".join(map(str, sample.objects[0])) if sample.objects else ""
        saw = f"a {sample.kind} file" + (f" with records that have {keys[:200]}" if keys else "")
        raise PgvError(
            f"No importer recognises {path} ({saw}). Name one with --format: "
            f"{', '.join(importers())}; or write one, see docs/importing.md."
        )
    if len(fits) > 1 and fits[0][0] - fits[1][0] < CLEAR:
        lines = "; ".join(f"{name} ({why})" for _, name, why in fits)
        raise PgvError(f"{path} fits several formats: {lines}. Choose one with --format.")
    return Found(importers()[fits[0][1]], fits[0][2])
