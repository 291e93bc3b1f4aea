"""``pgv embed``: every distinct text of a dataset becomes a vector, once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgv_jax.errors import PgvError

if TYPE_CHECKING:
    from pgv_jax.embed.encoder import Encoder
    from pgv_jax.embed.storage.store import AddReport


UNKNOWN = 0.01
"""Above this share of unknown tokens the vectors say too little of the texts."""
MULTILINGUAL = "hf:intfloat/multilingual-e5-small"


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--encoder",
    "spec",
    default="minilm",
    show_default=True,
    help="minilm, hf:ID_OR_DIR, gguf:FILE, api:MODEL or hash:D; options follow a question mark.",
)
@click.option("--store", type=click.Path(path_type=Path), help="Default: DATASET/embeddings.")
@click.option(
    "--history",
    type=click.IntRange(min=0),
    help="Past turns in an observation's text. [what pgv train reads: 3]",
)
@click.option(
    "--mode",
    type=click.Choice(["text", "episode"]),
    default="text",
    show_default=True,
    help="episode: one pass over an episode by a causal model.",
)
def embed(dataset: Path, spec: str, store: Path | None, history: int | None, mode: str) -> None:
    """Embed each distinct text of DATASET once; an interrupted run goes on where it stopped."""
    from pgv_jax.config import TextsConfig
    from pgv_jax.data.episodes import read_episodes
    from pgv_jax.data.layout import texts_of
    from pgv_jax.data.samples import dataset_path
    from pgv_jax.embed.encoder_specs import open_encoder
    from pgv_jax.embed.storage.store import EmbeddingStore
    from pgv_jax.texts.templates import EPISODE

    dataset = dataset_path(dataset)
    episodes = list(read_episodes(dataset))
    encoder = open_encoder(_with_mode(spec, mode))
    episodic = encoder.describe().get("mode") == "episode"
    if episodic and history:
        raise PgvError(
            f"--history {history} and --mode episode exclude each other: an episode's vectors know "
            "all of its past. Leave --history out."
        )
    # Episode by episode, so that the closing line can say how much is repeated.
    usual = TextsConfig().history if history is None else history
    known = EPISODE if episodic else usual
    texts = [text for episode in episodes for text in texts_of([episode], known)]
    opened = EmbeddingStore(store or dataset / "embeddings", encoder)
    report = _add(opened, texts)
    click.echo(_closing(report, encoder, episodic))
    if report.unknown > UNKNOWN * report.tokens:
        click.echo(unknown_warning(report, encoder), err=True)


def _with_mode(spec: str, mode: str) -> str:
    """The mode is a part of the encoder: the spec that a manifest keeps must open the same one."""
    if mode == "text" or "mode=" in spec:
        return spec
    if not spec.startswith(("hf:", "gguf:")):
        raise PgvError(
            f"--mode episode reads episodes with a causal model, '{spec}' is none; use "
            "--encoder hf:ID_OR_DIR or gguf:FILE with a Qwen or Llama model."
        )
    return f"{spec}{'&' if '?' in spec else '?'}mode={mode}"


def _add(store: Any, texts: list[str]) -> AddReport:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from pgv_jax.cli.console import on_stderr

    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=on_stderr(), transient=True) as bar:
        task = bar.add_task("embedding", total=None)
        return store.add(texts, lambda done, of: bar.update(task, completed=done, total=of))


def unknown_warning(report: AddReport, encoder: Encoder) -> str:
    """What it means that the encoder does not know so many tokens, and what does."""
    share = report.unknown / report.tokens
    return (
        f"Warning: {share:.0%} of the tokens are unknown to {encoder.name}, so different texts get "
        "equal vectors. It never learned this language or these signs; a multilingual encoder has: "
        f"--encoder {MULTILINGUAL}."
    )


def _closing(report: AddReport, encoder: Encoder, episodic: bool) -> str:
    parts = [
        f"{report.texts} texts",
        f"{report.distinct} distinct",
        f"{report.embedded} embedded now",
    ]
    if report.embedded:
        share = 100 * report.truncated / report.embedded
        what = "beyond one window" if episodic else "truncated"
        parts.append(f"{report.truncated} {what} ({share:.1f} %)")
        if report.empty:
            parts.append(f"{report.empty} empty")
        if report.lossy:
            parts.append(f"{report.lossy} with bytes that the model has no token for, left out")
        if report.tokens and report.unknown:
            unknown = 100 * report.unknown / report.tokens
            parts.append(f"{report.unknown} unknown tokens ({unknown:.1f} %)")
        if report.tokens:
            parts.append(f"{report.tokens / max(report.seconds, 1e-9):.0f} tokens/s")
    dollars = getattr(encoder, "dollars", None)
    if dollars is not None:
        parts.append(f"{report.tokens} tokens paid, ${dollars:.4f}")
    line = f"{', '.join(parts)}; encoder {encoder.name} ({encoder.fingerprint[:12]})."
    if report.truncated and not episodic and getattr(encoder, "rules", None) is not None:
        kept = encoder.rules.keep  # type: ignore[attr-defined]
        lost = "beginning" if kept == "end" else "end"
        line += f" Truncated texts lost their {lost}"
        line += "." if kept == "end" else "; the option keep=end loses their beginning instead."
    return line
