"""The objectives by name: every file of this folder, entry points and ``FILE.py:Class``."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from pgv_jax import objectives
from pgv_jax.errors import PgvError
from pgv_jax.objectives.base import Objective
from pgv_jax.registry import Registry

DEFAULT = "gc_iql"
"""The objective of a configuration that names none."""
FLAT = {
    *("name", "gamma", "expectile", "head", "reduce", "polyak", "form", "discount"),
    *("by_candidates", "margin", "hindsight", "next_thought"),
}
"""Keys that every manifest up to version 0.1 has, whatever its objective."""


@lru_cache(maxsize=1)
def _built_in() -> Mapping[str, type[Objective]]:
    """The objectives that this folder's files define. A new file needs no row anywhere."""
    found: dict[str, type[Objective]] = {}
    for info in pkgutil.iter_modules(objectives.__path__, f"{objectives.__name__}."):
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            own = isinstance(value, type) and value.__module__ == info.name
            if own and issubclass(value, Objective) and not inspect.isabstract(value):
                found[value.model_fields["name"].default] = value
    return found


REGISTRY: Registry[type[Objective]] = Registry(
    "objective.name", "pgv_jax.objectives", _built_in, Objective
)


def objective_of(tree: Any) -> Any:
    """The objective that ``tree``, the section ``objective`` of a configuration, asks for.

    An objective is returned as it is, and so is what is no mapping: it has no name to look up.
    """
    if not isinstance(tree, Mapping):
        return tree
    name = tree.get("name", DEFAULT)
    if not isinstance(name, str):
        raise PgvError(f"objective.name = {name!r} is no name; write for example {DEFAULT}.")
    return REGISTRY.get(name).model_validate({**tree, "name": name})


def objectives_with(key: str) -> list[str]:
    """The names of the built-in objectives that have this option."""
    return [name for name, kind in _built_in().items() if key in kind.model_fields]


def saved_objective(tree: Mapping[str, Any]) -> Objective:
    """The objective of an artifact's manifest.

    Manifests up to version 0.1 carry the keys of all objectives of that time; those of the others
    said nothing and are left out.
    """
    kind, kept = REGISTRY.get(tree["name"]), tree
    if set(tree) >= FLAT:
        kept = {k: v for k, v in tree.items() if k in kind.model_fields or k not in FLAT}
    try:
        return kind.model_validate(kept)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("objective", *first["loc"])))
        raise PgvError(
            f"The manifest's {key} = {first['input']!r} does not fit the objective {tree['name']}: "
            f"{first['msg']}; open it with the version that made it."
        ) from None
