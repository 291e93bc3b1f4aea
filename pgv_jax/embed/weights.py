"""Weights of a model folder: one or many safetensors files, read tensor by tensor."""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ml_dtypes  # noqa: F401  (teaches numpy bfloat16, which safetensors files use)
import numpy as np

from pgv_jax.embed.text_rules import read_json
from pgv_jax.errors import PgvError

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
Path = tuple[Any, ...]
"""Where a parameter stands in a model's state."""
Block = tuple[slice, ...]
Reader = Callable[[Block, tuple[int, ...]], np.ndarray]
"""Reads a block of one parameter, whose whole shape is given, from files."""

_FLOATS = ("F64", "F32", "F16", "BF16")


class Weights(Protocol):
    """Tensors by the names that a Hugging Face folder gives them."""

    @property
    def source(self) -> pathlib.Path:
        """Where they lie."""
        ...

    def block(self, name: str, index: Block, shape: Sequence[int]) -> np.ndarray:
        """A block of a tensor that must have ``shape``."""
        ...

    def sha256(self) -> str:
        """One checksum over all of them."""
        ...


class WeightFiles:
    """The tensors of a folder by name; nothing is read before it is asked for."""

    def __init__(self, folder: pathlib.Path):
        self.source = self.folder = folder
        self.files = _files(folder)
        self._open: dict[pathlib.Path, Any] = {}
        self._where: dict[str, pathlib.Path] = {}
        for path in self.files:
            for name in self._handle(path).keys():  # noqa: SIM118 (a safetensors handle, no dict)
                self._where[name] = path
        self._prefix = ""

    def strip(self, *prefixes: str) -> None:
        """Let names drop the first of ``prefixes`` that the folder's names carry."""
        for prefix in prefixes:
            if any(name.startswith(prefix) for name in self._where):
                self._prefix = prefix
                return

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._where

    def block(self, name: str, index: Block, shape: Sequence[int]) -> np.ndarray:
        """A block of a tensor that must have ``shape``; only the block is read."""
        part = self._slice(name)
        if tuple(part.get_shape()) != tuple(shape):
            raise PgvError(
                f"Tensor '{self._prefix + name}' in {self.folder} has shape "
                f"{tuple(part.get_shape())}, config.json asks for {tuple(shape)}; check that both "
                "belong to the same model."
            )
        return part[index]

    def sha256(self) -> str:
        """One checksum over the files' checksums (a hub cache names its blobs by them)."""
        total = hashlib.sha256()
        for path in self.files:
            total.update(_content_sha256(path).encode())
        return total.hexdigest()

    def _slice(self, name: str) -> Any:
        full = self._prefix + name
        if full not in self._where:
            raise PgvError(
                f"The weights in {self.folder} lack the tensor '{full}' that the config asks for; "
                f"they hold {len(self._where)} tensors such as '{next(iter(self._where), '')}'. "
                "Download the model again, or check that config.json belongs to it."
            )
        part = self._handle(self._where[full]).get_slice(full)
        if part.get_dtype() not in _FLOATS:
            raise PgvError(
                f"Tensor '{full}' in {self._where[full]} is stored as {part.get_dtype()}; "
                f"supported are {', '.join(_FLOATS)} (quantised weights are not)."
            )
        return part

    def _handle(self, path: pathlib.Path) -> Any:
        if path not in self._open:
            from safetensors import SafetensorError, safe_open

            try:
                self._open[path] = safe_open(str(path), framework="numpy")
            except (SafetensorError, OSError) as error:
                raise PgvError(
                    f"{path} cannot be read as safetensors ({error}); download the model again."
                ) from error
        return self._open[path]


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    if (folder / _INDEX).exists():
        index = read_json(folder / _INDEX)
        try:
            names = sorted(set(index["weight_map"].values()))  # type: ignore[call-overload]
        except (KeyError, TypeError, AttributeError) as error:
            raise PgvError(f"{folder / _INDEX} has no weight_map; download it again.") from error
        absent = [name for name in names if not (folder / name).exists()]
        if absent:
            raise PgvError(
                f"{folder} lacks {len(absent)} of its {len(names)} weight files, the first is "
                f"{absent[0]}; download the model again."
            )
        return [folder / name for name in names]
    if (folder / _SINGLE).exists():
        return [folder / _SINGLE]
    others = sorted(path.name for path in folder.glob("*.bin"))
    raise PgvError(
        f"{folder} holds no {_SINGLE} and no {_INDEX}"
        + (f" (only {', '.join(others)})" if others else "")
        + "; weights are read from safetensors files."
    )


def _content_sha256(path: pathlib.Path) -> str:
    blob = path.resolve().name
    if path.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
