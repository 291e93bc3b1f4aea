"""Reads a PyTorch export back: a critic that was fine-tuned in PyTorch becomes an artifact."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic import next_note
from pgv_jax.critic.artifact import Artifact, fingerprint, flatten, unflatten
from pgv_jax.critic.heads import Critic, CriticSpec
from pgv_jax.errors import PgvError
from pgv_jax.export.folder import WORDING
from pgv_jax.export.inputs import random_sample
from pgv_jax.export.parity import PARITY_LIMIT, in_words, parity, within_limit

SPEC = tuple(field.name for field in fields(CriticSpec))
IMAGINING = ("note_width", "known")
"""Keys that an export has where the critic imagines."""
LATER = ("note_cosines", "note_value")
"""Keys that it has where its next-note model has these parts."""
NEEDED = (
    *(name for name in SPEC if name not in (*IMAGINING, *LATER)),
    "heads",
    "encoder",
    "texts",
    "artifact",
)
JUDGED = ("metrics", "calibration", "step")
"""What was found out of the parameters as they were; it goes when they change."""


def import_torch(
    folder: str | os.PathLike[str], out: str | os.PathLike[str]
) -> dict[str, float] | None:
    """Write a PyTorch folder (an export, or ``save_pretrained`` of one) to OUT as an artifact.

    Where the parameters are no longer those of the export, metrics and calibration are left out
    and the manifest's ``fine_tuned`` says from which parameters. An untrained head starts anew.
    Returns the parity on random inputs, None where PyTorch is not installed; above PARITY_LIMIT it
    raises PgvError and writes nothing.
    """
    folder, out = Path(folder), Path(out)
    _refuse_foreign(out)
    config = _config(folder)
    artifact = Artifact(folder, _manifest(config), _params(folder, config))
    found = None
    if importlib.util.find_spec("torch") is not None:
        from pgv_jax.export.programs import module_values

        found = parity(
            [module_values(folder)], artifact, {"random": random_sample(artifact.manifest)}
        )
        if not within_limit(found):
            raise PgvError(
                f"The artifact of {folder} differs by {in_words(found)} where at most "
                f"{PARITY_LIMIT:.0e} is allowed, so nothing was written to {out}."
            )
    artifacts.save(out, artifact.params, _judged(artifact, config))
    return found


def _refuse_foreign(out: Path) -> None:
    """An earlier artifact is replaced; anything else that lies at OUT is not ours to delete."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        try:
            artifacts.load(out)
        except PgvError:
            raise PgvError(f"{out} exists and is not an artifact; name another folder.") from None


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise PgvError(
            f"{folder} is not a PyTorch export: it has no config.json. `pgv export torch` writes "
            "one, and save_pretrained keeps it."
        ) from None
    except (OSError, ValueError) as error:
        raise PgvError(f"{path} is damaged: {error}.") from None
    needed = NEEDED
    if isinstance(config, dict) and "m" in config.get("heads", ()):
        needed += IMAGINING
    missing = [key for key in needed if not isinstance(config, dict) or key not in config]
    if missing:
        raise PgvError(
            f"{path} lacks {', '.join(missing)}, so no artifact can be made of it; export the "
            "critic again with `pgv export torch` and fine-tune that."
        )
    return dict(config)


def _manifest(config: Mapping[str, Any]) -> dict[str, Any]:
    texts = {key: value for key, value in config["texts"].items() if key not in WORDING}
    changed = [key for key, said in WORDING.items() if config["texts"].get(key) != said]
    if changed:
        raise PgvError(
            f"The export's wording of {', '.join(changed)} is not this release's, so its artifact "
            "would be asked in other words than it was trained on."
        )
    return {
        **config["artifact"],
        "critic": _spec(config).to_json(),
        "encoder": config["encoder"],
        "texts": texts,
        "heads": list(config["heads"]),
        **({"calibration": config["calibration"]} if config.get("calibration") else {}),
    }


def _spec(config: Mapping[str, Any]) -> CriticSpec:
    return CriticSpec.from_json({key: config[key] for key in SPEC if key in config})


def _params(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Every head's parameters; what is not in the file is as a new critic has it."""
    path = folder / "model.safetensors"
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise PgvError(f"{path} is missing; the export is incomplete.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise PgvError(f"{path} is damaged: {error}.") from None
    given = {
        name.replace("_head.", "/", 1).replace(".", "/"): np.asarray(value, np.float32)
        for name, value in state.items()
    }
    spec = _spec(config)
    critic = Critic(spec, jax.random.key(0))
    fresh = flatten(nnx.to_pure_dict(nnx.state(critic, nnx.Param)))
    wanted = {name: x.shape for name, x in fresh.items() if name.split("/")[0] in config["heads"]}
    if "m" in config["heads"]:
        shape = (spec.ensemble, spec.dim, spec.note_width, config["known"], *spec.note_parts)
        model = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), next_note.shapes(*shape))
        wanted |= {f"m/{name}": x.shape for name, x in flatten(model).items()}
    found = {name: x.shape for name, x in given.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise PgvError(
                f"{path}: parameter {name} has shape {found.get(name)}; config.json asks for "
                f"{wanted.get(name)}."
            )
    return unflatten({name: np.asarray(value) for name, value in (fresh | given).items()})


def _judged(artifact: Artifact, config: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest, without what was found out of other parameters than these."""
    trained = {head: artifact.params[head] for head in artifact.manifest["heads"]}
    before = config["artifact"].get("parameters")
    manifest = {key: value for key, value in artifact.manifest.items() if key != "parameters"}
    if fingerprint(trained) == before:
        return manifest
    kept = {key: value for key, value in manifest.items() if key not in JUDGED}
    return {**kept, "fine_tuned": {"in": "torch", "from_parameters": before}}
