"""``pgv export``: write a critic for use outside of this package; ``pgv import-critic``: back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pgv_jax.export.inputs import Sample

ARTIFACT = click.argument("artifact", type=click.Path(path_type=Path))
OUT = click.argument("out", type=click.Path(path_type=Path))
DATASET = click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="A dataset, to check parity on embeddings of its texts as well as on random ones.",
)


@click.group()
def export() -> None:
    """Write a critic for use outside of JAX or of this package.

    Whatever is written is read back first and compared with the JAX critic and with the formula in
    float64. Above a difference of 1e-5 nothing is written.
    """


@export.command("torch")
@ARTIFACT
@OUT
@DATASET
@click.option(
    "--torch-export",
    is_flag=True,
    help="Add q.pt2 and v.pt2 (and imagined.pt2), made by torch.export.",
)
def torch_(artifact: Path, out: Path, dataset: Path | None, torch_export: bool) -> None:
    """Write ARTIFACT as a PyTorch model folder.

    OUT holds config.json, model.safetensors, the module that loads them without JAX, and a model
    card; it can be uploaded to the Hugging Face Hub as it is.
    """
    from pgv_jax.export.write import export_torch
    from pgv_jax.parts import pip_line

    parity = export_torch(artifact, out, logged=_logged(artifact, dataset), programs=torch_export)
    if parity is None:
        click.echo(
            f"Wrote {out}. Parity is unchecked because PyTorch is not installed; to check it, "
            f"export again after: {pip_line('torch')}"
        )
    else:
        _say(out, parity)


@export.command("onnx")
@ARTIFACT
@OUT
@DATASET
def onnx_(artifact: Path, out: Path, dataset: Path | None) -> None:
    """Write ARTIFACT as ONNX models, q.onnx and v.onnx; needs the extras torch and onnx.

    A critic that imagines has imagined.onnx, too.
    """
    _write("onnx", artifact, out, dataset)


@export.command("jax")
@ARTIFACT
@OUT
@DATASET
def jax_(artifact: Path, out: Path, dataset: Path | None) -> None:
    """Write ARTIFACT as StableHLO programs, q.jaxexport and v.jaxexport; jax alone runs them.

    A critic that imagines has imagined.jaxexport, too.
    """
    _write("jax", artifact, out, dataset)


@click.command("import-critic")
@click.argument("folder", type=click.Path(path_type=Path))
@OUT
def import_critic(folder: Path, out: Path) -> None:
    """Turn FOLDER, a PyTorch critic, into the artifact OUT, for instance after fine-tuning it.

    FOLDER is what `pgv export torch` or save_pretrained wrote. Where its parameters are no longer
    the exported ones, metrics and calibration are left out: judge the critic anew.
    """
    from pgv_jax.export.read import import_torch

    parity = import_torch(folder, out)
    if parity is None:
        click.echo(f"Wrote {out}. Parity is unchecked because PyTorch is not installed.")
    else:
        _say(out, parity)


def _write(form: str, artifact: Path, out: Path, dataset: Path | None) -> None:
    from pgv_jax.export.onnx import export_onnx
    from pgv_jax.export.stablehlo import export_jax

    writers: dict[str, Callable[..., dict[str, float]]] = {"onnx": export_onnx, "jax": export_jax}
    _say(out, writers[form](artifact, out, logged=_logged(artifact, dataset)))


def _say(out: Path, parity: Mapping[str, float]) -> None:
    from pgv_jax.export.parity import PARITY_LIMIT, in_words

    click.echo(f"Wrote {out}. Largest difference {in_words(parity)} (limit {PARITY_LIMIT:.0e}).")


def _logged(artifact: Path, dataset: Path | None) -> Sample | None:
    """Embeddings of the dataset's texts, of held-out tasks where it has some."""
    if dataset is None:
        return None
    from pgv_jax.critic.value import ValueFunction
    from pgv_jax.data.episodes import dataset_info, read_episodes
    from pgv_jax.export.inputs import logged
    from pgv_jax.texts.templates import worded

    splits: Any = dataset_info(dataset)["splits"]
    split = next((name for name in ("test", "val") if name in splits), "train")
    store = dataset / "embeddings"
    value = ValueFunction.load(artifact, store=store if store.is_dir() else None)
    return logged(value, (worded(e, value.step) for e in read_episodes(dataset, split)))


@export.command("preferences")
@click.argument("episodes", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--artifact",
    type=click.Path(path_type=Path),
    help="Critic that scores the candidates. [the scores that the episodes carry]",
)
@click.option("--store", type=click.Path(path_type=Path), help="Embeddings of the candidates.")
@click.option("--margin", default=0.03, show_default=True, help="Least difference of a pair.")
@click.option("--history", default=3, show_default=True, help="Past turns in the prompt.")
def preferences_(
    episodes: Path,
    out: Path,
    artifact: Path | None,
    store: Path | None,
    margin: float,
    history: int,
) -> None:
    """Write the best and the worst candidate of each step of EPISODES as preference pairs.

    EPISODES is a dataset's folder or Episodes JSONL. OUT is JSONL in the conversational format of
    TRL's DPOTrainer: prompt, chosen, rejected, and the margin of their scores.
    """
    from pgv_jax.agents.propose import Turn, build_messages
    from pgv_jax.data.episodes import is_dataset, read_episodes
    from pgv_jax.data.storage.jsonl import read_jsonl
    from pgv_jax.export.preferences import preferences, write_preferences

    value = None
    if artifact is not None:
        from pgv_jax.critic.value import ValueFunction

        value = ValueFunction.load(artifact, store=store)
    found = read_episodes(episodes) if is_dataset(episodes) else read_jsonl(episodes)
    pairs = preferences(
        found,
        lambda task, seen, past: [
            dict(m) for m in build_messages(task, seen, (), [Turn(*turn) for turn in past])
        ],
        score=value.q if value else None,
        critic_history=value.history if value else 0,
        critic_step=value.step if value else "thought",
        model_history=history,
        margin=margin,
    )
    count = write_preferences(out, pairs)
    click.echo(f"Wrote {count:,} pairs to {out}.")
