"""The published critic: ``manifest.json`` and ``params.safetensors``, small and self-describing.

The treaty between the learner and everyone who scores. Kernels are [E, in, out]; V has E = 1.
The manifest's ``checksums`` are SHA-256 of the parameters' file and of the rest of the manifest
(its JSON with sorted keys and no spaces); ``load`` checks them. Version 1 had none and is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from pgv_jax.errors import PgvError
from pgv_jax.files import replace_folder, restore_folder, write_whole
from pgv_jax.texts.templates import FAILURE, SUCCESS

FORMAT = "pgv_jax.artifact"
VERSION = 2
UNCHECKED = 1
"""The version before checksums."""
PARAMS = "params.safetensors"
REQUIRED = {
    "critic": ("dim", "hidden", "ensemble", "layer_norm", "activation", "head"),
    "encoder": ("name", "fingerprint"),
    "texts": ("history",),
    "objective": ("name",),
    "heads": (),
}
"""Keys of every manifest, and what stands below them at least."""


@dataclass(frozen=True)
class Artifact:
    """An opened artifact: the manifest and the parameters as a nested dict of numpy arrays."""

    folder: Path
    manifest: dict[str, Any]
    params: dict[str, Any]


def discount(manifest: Mapping[str, Any], goal: str) -> float | None:
    """What a value of ``goal`` shrinks by a step; 1 where the recipe answers by a chance.

    None where the manifest does not say.
    """
    gamma = manifest["objective"].get("gamma")
    if goal in (SUCCESS, FAILURE):
        gamma = manifest.get("recipe", {}).get("gamma", gamma)
    return None if gamma is None else float(gamma)


def still_improving(manifest: Mapping[str, Any]) -> bool:
    """Whether the last look at held-out tasks was the best one: the training had not converged.

    False where no held-out tasks chose the parameters.
    """
    train = manifest.get("config", {}).get("train", {})
    if not train.get("early_stop") or not manifest.get("metrics"):
        return False
    given = manifest.get("updates", train["steps"])
    return bool(manifest["step"] + train["eval_every"] > given)


def save(folder: str | os.PathLike[str], params: Any, manifest: dict[str, Any]) -> Path:
    """Write an artifact atomically; an older one at the same place is replaced.

    One that says the same already stays, with what was added to it since (``annotate``).
    """
    folder = Path(folder)
    missing = [key for key in REQUIRED if key not in manifest]
    if missing:
        raise PgvError(f"An artifact's manifest lacks {', '.join(missing)}.")
    if _is_there(folder, params, manifest):
        return folder
    # Not save_file, which leaves a file that its owner alone can read.
    data = serialize(flatten(params))
    work = folder.with_name(f".{folder.name}.tmp")
    restore_folder(work, folder)
    shutil.rmtree(work, ignore_errors=True)
    built = work / "built"
    built.mkdir(parents=True)
    (built / PARAMS).write_bytes(data)
    (built / "manifest.json").write_text(_manifest_text(manifest, data), "utf-8")
    replace_folder(built, folder)
    work.rmdir()
    return folder


def _manifest_text(manifest: dict[str, Any], params: bytes) -> str:
    whole = {**manifest, "format": FORMAT, "version": VERSION}
    sums = {PARAMS: hashlib.sha256(params).hexdigest(), "manifest": _manifest_sum(whole)}
    return json.dumps({**whole, "checksums": sums}, indent=2, sort_keys=True) + "\n"


def _manifest_sum(manifest: dict[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "checksums"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_there(folder: Path, params: Any, manifest: dict[str, Any]) -> bool:
    """Does the folder hold an artifact of these parameters, whose manifest says at least this?"""
    said = json.loads(json.dumps(manifest))
    try:
        known = load(folder)
    except PgvError:
        return False
    same = all(key in known.manifest and known.manifest[key] == said[key] for key in said)
    return same and fingerprint(known.params) == fingerprint(params)


def annotate(folder: str | os.PathLike[str], key: str, value: Any) -> None:
    """Set one key of a published manifest, atomically; ``value`` None removes it."""
    path = Path(folder) / "manifest.json"
    manifest = {**load(folder).manifest, key: value}
    if value is None:
        del manifest[key]
    write_whole(path, _manifest_text(manifest, (Path(folder) / PARAMS).read_bytes()))


def is_artifact(folder: str | os.PathLike[str]) -> bool:
    """Does the folder hold the manifest of an artifact, or parameters beside a damaged one?"""
    try:
        manifest = json.loads((Path(folder) / "manifest.json").read_text("utf-8"))
    except OSError:
        return False
    except ValueError:
        return (Path(folder) / PARAMS).exists()
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def load(folder: str | os.PathLike[str]) -> Artifact:
    """Open an artifact; anything that is not one is a PgvError that says why."""
    folder = Path(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise PgvError(
            f"{folder} is not an artifact: it has no manifest.json. `pgv train` writes one to "
            "WORKDIR/artifact."
        ) from None
    except (OSError, ValueError) as error:
        raise PgvError(f"{folder / 'manifest.json'} is damaged: {error}.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise PgvError(f"{folder / 'manifest.json'} is not the manifest of a pgv_jax artifact.")
    if manifest.get("version") not in (UNCHECKED, VERSION):
        raise PgvError(
            f"{folder} is an artifact of version {manifest.get('version')}; this release reads "
            f"versions {UNCHECKED} and {VERSION}."
        )
    missing = list(_missing(manifest))
    if missing:
        raise PgvError(
            f"{folder / 'manifest.json'} lacks {', '.join(missing)}; the artifact is damaged."
        )
    path = folder / PARAMS
    sums = _checked(folder, manifest) if manifest["version"] == VERSION else None
    try:
        data = path.read_bytes()
        if sums is not None and hashlib.sha256(data).hexdigest() != sums[PARAMS]:
            raise PgvError(f"{path} is damaged: its SHA-256 is not the one in manifest.json.")
        params = unflatten(deserialize(data))
    except FileNotFoundError:
        raise PgvError(f"{path} is missing; the artifact is incomplete.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise PgvError(f"{path} is damaged: {error}.") from None
    return Artifact(folder, {k: v for k, v in manifest.items() if k != "checksums"}, params)


def _checked(folder: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """The checksums of a manifest, which agrees with its own."""
    path, sums = folder / "manifest.json", manifest.get("checksums")
    if not isinstance(sums, dict) or PARAMS not in sums or "manifest" not in sums:
        raise PgvError(f"{path} is damaged: it lacks checksums of {PARAMS} and of itself.")
    if _manifest_sum(manifest) != sums["manifest"]:
        raise PgvError(f"{path} is damaged: it does not have the checksum that it states.")
    return sums


def _missing(manifest: dict[str, Any]) -> Iterator[str]:
    for key, below in REQUIRED.items():
        if key not in manifest:
            yield key
        elif below and not isinstance(manifest[key], dict):
            yield f"{key}.{below[0]}"
        else:
            yield from (f"{key}.{name}" for name in below if name not in manifest[key])


def fingerprint(params: Any) -> str:
    """sha256 hex over the names, shapes and float32 values of parameters, whatever their order."""
    digest = hashlib.sha256()
    for name, value in sorted(flatten(params).items()):
        digest.update(f"{name} {value.shape} ".encode())
        digest.update(value.astype("<f4").tobytes())
    return digest.hexdigest()


def flatten(params: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Nested dict -> {"q/task/kernel": array}, contiguous."""
    flat: dict[str, np.ndarray] = {}
    for name, value in params.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = np.ascontiguousarray(value)
    return flat


def unflatten(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    """Undo ``flatten``."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parts, last = path.split("/")
        node = tree
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = value
    return tree
