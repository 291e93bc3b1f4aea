"""Whether an artifact holds the critic that its manifest names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic import next_note
from pgv_jax.critic.heads import ACTIVATIONS, CriticSpec
from pgv_jax.errors import PgvError

HEADS = ("sigmoid", "linear")


def spec_of(artifact: artifacts.Artifact) -> CriticSpec:
    """The manifest's critic; PgvError where this release does not know such a one."""
    try:
        spec = CriticSpec.from_json(artifact.manifest["critic"])
    except TypeError as error:
        raise PgvError(
            f"{artifact.folder}: the critic of its manifest is not one that this release knows "
            f"({error})."
        ) from None
    for key, value, known in (
        ("activation", spec.activation, tuple(ACTIVATIONS)),
        ("head", spec.head, HEADS),
    ):
        if value not in known:
            raise PgvError(
                f"{artifact.folder}: its critic's {key} is '{value}'; this release knows "
                f"{', '.join(known)}."
            )
    return spec


def check_params(artifact: artifacts.Artifact, shapes: Any) -> None:
    """Hold parameters to the shapes of the heads, and of the next-note model; else PgvError."""
    spec = spec_of(artifact)
    if spec.note_width:
        known = len(artifact.params.get("m", {}).get("known", ()))
        shape = (spec.ensemble, spec.dim, spec.note_width, known, *spec.note_parts)
        note = next_note.shapes(*shape)
        shapes = {**shapes, "m": note}
    wanted = {path: leaf.shape for path, leaf in _leaves(shapes)}
    found = {path: leaf.shape for path, leaf in _leaves(artifact.params)}
    for path in sorted(wanted.keys() | found.keys()):
        if wanted.get(path) != found.get(path):
            raise PgvError(
                f"{artifact.folder}: parameter {path} has shape {found.get(path)}; its manifest "
                f"asks for {wanted.get(path)}. The artifact is damaged."
            )


def _leaves(tree: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
