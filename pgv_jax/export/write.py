"""Writes an artifact as a PyTorch model folder, once it is shown to give the same values."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jinja2
import numpy as np
from flax import nnx
from safetensors.numpy import save

from pgv_jax.artifact import Artifact, flatten, load
from pgv_jax.critic import Critic, CriticSpec, link
from pgv_jax.data.texts import ACTION_TEMPLATE, FAILURE, OBSERVATION_TEMPLATE, SUCCESS
from pgv_jax.errors import PgvError
from pgv_jax.export.reference import head_values
from pgv_jax.types import FIELDS

PARITY_LIMIT = 1e-5
PROBES = 256
FORMAT = "pgv_jax.torch"
VERSION = 1


def export_torch(artifact: str | os.PathLike[str], out: str | os.PathLike[str]) -> float | None:
    """Write the artifact to OUT as config.json, model.safetensors, pgv_critic.py and a model card.

    Returns the parity, the largest |torch - reference| / max(1, |reference|) over Q and V of random
    unit vectors, where the reference is the formula in float64 and the JAX critic; None where
    PyTorch is not installed. Raises PgvError, and leaves OUT as it was, above PARITY_LIMIT.
    """
    out = Path(out)
    opened = load(artifact)
    _refuse_foreign(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch) / "export"
        folder.mkdir()
        _write_model(folder, opened)
        parity = None
        if importlib.util.find_spec("torch") is not None:
            parity = _parity(folder, opened)
            if not parity <= PARITY_LIMIT:
                raise PgvError(
                    f"The PyTorch twin of {artifact} differs by {parity:.1e} where at most "
                    f"{PARITY_LIMIT:.0e} is allowed, so nothing was written to {out}; please "
                    "report this with the artifact's manifest.json."
                )
        (folder / "README.md").write_text(_card(opened, parity), encoding="utf-8")
        _replace(folder, out)
    return parity


def _refuse_foreign(out: Path) -> None:
    """An earlier export is replaced; anything else that lies at OUT is not ours to delete."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        ours = config.get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        raise PgvError(f"{out} exists and is not an earlier export; name another folder.")


def _config(manifest: Mapping[str, Any]) -> dict[str, Any]:
    wording = {
        "observation": OBSERVATION_TEMPLATE,
        "action": ACTION_TEMPLATE,
        "success": SUCCESS,
        "failure": FAILURE,
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        **CriticSpec.from_json(manifest["critic"]).to_json(),
        "fields": list(FIELDS),
        "heads": manifest["heads"],
        "encoder": manifest["encoder"],
        "texts": manifest["texts"] | wording,
    }


def _write_model(folder: Path, artifact: Artifact) -> None:
    config = json.dumps(_config(artifact.manifest), indent=2, sort_keys=True)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    # Only trained heads: the others' parameters are noise that nobody should score with.
    state = {
        f"{head}_head.{name.replace('/', '.')}": np.asarray(value, np.float32)
        for head in artifact.manifest["heads"]
        for name, value in flatten(artifact.params[head]).items()
    }
    # Not save_file, which leaves a file that its owner alone can read.
    (folder / "model.safetensors").write_bytes(save(state, metadata={"format": "pt"}))
    shutil.copyfile(Path(__file__).with_name("torch.py"), folder / "pgv_critic.py")


def _parity(folder: Path, artifact: Artifact) -> float:
    """Read the written files back with PyTorch, and compare what the three forwards say."""
    spec = CriticSpec.from_json(artifact.manifest["critic"])
    found = []
    for head in artifact.manifest["heads"]:
        inputs = probes(spec.dim)
        if spec.outcome_members:  # every third goal is an outcome
            outcomes = artifact.params[head]["outcome"]["goals"]
            inputs["goal"][::3] = np.resize(outcomes, inputs["goal"][::3].shape)
        actual = _torch_values(folder, head, inputs)
        formula = head_values(artifact.params[head], spec.to_json(), inputs)
        found.append(difference(actual, formula))
        found.append(difference(actual, _jax_values(artifact.params, head, spec, inputs)))
    return float(np.max(found))  # not max(): NaN must stay NaN


def _torch_values(folder: Path, head: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    import torch

    from pgv_jax.export.torch import PgvCritic

    critic = PgvCritic.from_pretrained(folder)
    tensors = {field: torch.from_numpy(x) for field, x in inputs.items()}
    with torch.no_grad():
        if head == "q":
            return critic.q_ensemble(**tensors).numpy()
        del tensors["thought"]
        return critic.v_ensemble(**tensors).numpy()


def _jax_values(
    params: Mapping[str, Any], head: str, spec: CriticSpec, inputs: Mapping[str, np.ndarray]
) -> np.ndarray:
    abstract = nnx.eval_shape(lambda: Critic(spec, jax.random.key(0)))
    graph, state = nnx.split(getattr(abstract, head))
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, params[head]))
    # Accelerators multiply in fewer bits unless told otherwise.
    with jax.default_matmul_precision("highest"):
        return np.asarray(link(nnx.merge(graph, state)(inputs), spec.head))


def probes(dim: int) -> dict[str, np.ndarray]:
    """PROBES random unit vectors a field, always the same: float32 [PROBES, dim]."""
    generator = np.random.default_rng(0)
    vectors = {field: generator.standard_normal((PROBES, dim)) for field in FIELDS}
    return {
        field: (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)
        for field, x in vectors.items()
    }


def difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest |actual - expected| / max(1, |expected|); NaN where either is NaN."""
    return float(np.max(np.abs(actual - expected) / np.maximum(1, np.abs(expected))))


def _card(artifact: Artifact, parity: float | None) -> str:
    manifest = artifact.manifest
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    # Not jinja2's own tojson, which escapes for HTML.
    environment.filters["json"] = lambda value, indent=None: json.dumps(
        value, indent=indent, sort_keys=True, ensure_ascii=False
    )
    template = environment.get_template("model_card.md.j2")
    return template.render(
        critic=manifest["critic"],
        heads=manifest["heads"],
        encoder=manifest["encoder"],
        texts=manifest["texts"],
        objective=manifest["objective"],
        goals=manifest.get("goals") or {},
        data=manifest.get("data") or {},
        metrics=manifest.get("metrics") or {},
        parameters=sum(
            value.size
            for head in manifest["heads"]
            for value in flatten(artifact.params[head]).values()
        ),
        parity=parity,
        probes=PROBES,
        observation_template=OBSERVATION_TEMPLATE,
        action_template=ACTION_TEMPLATE,
        success=SUCCESS,
        failure=FAILURE,
    )


def _replace(folder: Path, out: Path) -> None:
    """Put ``folder`` at ``out``; an earlier export there stays until the new one is complete."""
    if out.exists():
        os.replace(out, folder.with_name("previous"))
    os.replace(folder, out)
