"""A folder that holds an export: written aside, read back, compared, and only then published."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgv_jax.critic.artifact import Artifact, fingerprint, load
from pgv_jax.critic.heads import CriticSpec
from pgv_jax.errors import PgvError
from pgv_jax.export.card import card
from pgv_jax.export.inputs import Sample, random_sample
from pgv_jax.export.parity import PARITY_LIMIT, Values, in_words, parity, within_limit
from pgv_jax.files import replace_folder
from pgv_jax.texts.templates import ACTION_TEMPLATE, FAILURE, OBSERVATION_TEMPLATE, SUCCESS
from pgv_jax.types import FIELDS

VERSION = 1
OWN = {"format", "version", "critic", "heads", "encoder", "texts", "calibration"}
"""Keys of a manifest that config.json has in its own words."""
WORDING = {
    "observation": OBSERVATION_TEMPLATE,
    "action": ACTION_TEMPLATE,
    "success": SUCCESS,
    "failure": FAILURE,
}
"""The texts' templates: an export carries them, an artifact has their fingerprint."""


@dataclass(frozen=True)
class Form:
    """One form of export.

    ``write`` fills a folder that holds ``config.json`` already; ``read`` opens what lies there, in
    every way that it can be run, and is None where the means to do so are not installed.
    """

    name: str
    write: Callable[[Path, Artifact], None]
    read: Callable[[Path], list[Values]] | None

    @property
    def format(self) -> str:
        """How config.json names it."""
        return f"pgv_jax.{self.name}"


def publish(
    artifact: str | os.PathLike[str],
    out: str | os.PathLike[str],
    form: Form,
    logged: Sample | None = None,
) -> dict[str, float] | None:
    """Write an artifact to OUT in one form: config.json, README.md and what the form adds.

    Returns the parity by set of inputs ("random", and "logged" where embeddings of logged texts
    are given); None where the form cannot be read back. Above PARITY_LIMIT it raises PgvError and
    leaves OUT as it was.
    """
    out = Path(out)
    opened = load(artifact)
    _refuse_without_model(opened)
    _refuse_foreign(out, form.format)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch) / "export"
        folder.mkdir()
        config = json.dumps(config_of(opened, form.format), indent=2, sort_keys=True)
        (folder / "config.json").write_text(config + "\n", encoding="utf-8")
        form.write(folder, opened)
        found = None
        if form.read is not None:
            inputs = {"random": random_sample(opened.manifest)}
            if logged is not None:
                inputs["logged"] = logged
            found = parity(form.read(folder), opened, inputs)
            if not within_limit(found):
                raise PgvError(
                    f"The {form.name} export of {artifact} differs by {in_words(found)} where at "
                    f"most {PARITY_LIMIT:.0e} is allowed, so nothing was written to {out}; please "
                    "report this with the artifact's manifest.json."
                )
        (folder / "README.md").write_text(card(opened, form.name, found), encoding="utf-8")
        replace_folder(folder, out)
    return found


def config_of(artifact: Artifact, kind: str) -> dict[str, Any]:
    """``config.json``: the PyTorch critic's arguments, and so all that an artifact's manifest says.

    What the critic needs has a key of its own; the rest stands under ``artifact``, with the
    fingerprint of the trained heads' parameters.
    """
    manifest = artifact.manifest
    rest = {key: value for key, value in manifest.items() if key not in OWN}
    trained = {head: artifact.params[head] for head in manifest["heads"]}
    imagines = "m" in manifest["heads"]
    return {
        "format": kind,
        "version": VERSION,
        **CriticSpec.from_json(manifest["critic"]).to_json(),
        **({"known": len(artifact.params["m"]["known"])} if imagines else {}),
        "fields": list(FIELDS),
        "heads": manifest["heads"],
        "encoder": manifest["encoder"],
        "texts": manifest["texts"] | WORDING,
        "calibration": manifest.get("calibration") or {},
        "artifact": rest | {"parameters": fingerprint(trained)},
    }


def _refuse_without_model(artifact: Artifact) -> None:
    """Of a critic that imagines, the direct Q alone would be another critic."""
    heads, width = artifact.manifest["heads"], artifact.manifest["critic"].get("note_width", 0)
    if bool(width) != ("m" in heads) or (
        "m" in heads and not {"v", "m"} <= {*heads} & {*artifact.params}
    ):
        raise PgvError(
            f"{artifact.folder} says note_width {width} and the heads {', '.join(heads)}, but a "
            "critic imagines by its heads v and m; the artifact is damaged, so train again."
        )


def _refuse_foreign(out: Path, kind: str) -> None:
    """An earlier export is replaced; anything else that lies at OUT is not ours to delete."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        ours = config.get("format") == kind
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        raise PgvError(f"{out} exists and is not an earlier export; name another folder.")
