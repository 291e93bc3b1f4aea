"""``pgv describe``: what is in a dataset, in a log before it is imported, or in an artifact."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pgv_jax.types import Episode


@click.command("describe")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--split", help="Only train, val or test of a dataset.")
@click.option("--format", "form", default="auto", show_default=True, help="Importer, for a log.")
@click.option("--agent", help="The role that is the agent, for a log.")
@click.option("--column", default="", metavar="OURS=THEIRS ...", help="As for pgv import.")
@click.option("--encoder", help="Count tokens with this encoder's tokenizer, such as minilm.")
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write a page.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the facts.")
def describe(
    path: Path,
    split: str | None,
    form: str,
    agent: str | None,
    column: str,
    encoder: str | None,
    html_path: Path | None,
    json_path: Path | None,
) -> None:
    """Say what is in PATH, a dataset or a log: counts, outcomes, problems, examples.

    Of an artifact, say what answers which goals and why.
    """
    from pgv_jax.cli.console import say
    from pgv_jax.critic.artifact import is_artifact, load
    from pgv_jax.data.episodes import dataset_info, is_dataset, read_episodes
    from pgv_jax.files import write_whole
    from pgv_jax.report.description import describe as survey
    from pgv_jax.report.pages.dataset import to_html, to_text

    if is_artifact(path):
        _describe_artifact(load(path).manifest)
        return
    if is_dataset(path):
        info = dataset_info(path)
        about = ", ".join(x for x in (info["source"], info["licence"]) if x)
        title = f"Dataset {path}" + (f" ({about})" if about else "")
        episodes = read_episodes(path, split)
    else:
        title = f"Log {path}"
        episodes = _read_log(path, form, agent, column)
    description = survey(episodes, _token_counter(encoder) if encoder else None)
    say(to_text(description, title), newline=False)
    if html_path is not None:
        html_path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(html_path, to_html(description, title))
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        facts = {**description.facts, "problems": description.problems}
        write_whole(json_path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _describe_artifact(manifest: Mapping[str, Any]) -> None:
    critic, data = manifest["critic"], manifest.get("data", {})
    objective, encoder = manifest["objective"]["name"], manifest["encoder"]["name"]
    widths = " x ".join(map(str, critic["hidden"]))
    seen = f", from {data['episodes']:,} episodes" if "episodes" in data else ""
    size = f"{widths} hidden units, {critic['ensemble']} Q members"
    click.echo(f"Critic by {objective} on embeddings of {encoder}: {size}{seen}.")
    if critic.get("note_width"):
        click.echo("Q is imagined: a thought is worth V of the note that it should lead to.")
    for sentence in manifest.get("recipe", {}).get("words", ()):
        click.echo(sentence)


def _read_log(path: Path, form: str, agent: str | None, columns: str) -> Iterator[Episode]:
    """The episodes that ``pgv import`` would write; what it would stop at is left out and said."""
    from pgv_jax.cli.commands.importing import passed_lines, tally_lines
    from pgv_jax.cli.console import say
    from pgv_jax.data.importers.base import Options
    from pgv_jax.data.importers.pipeline import Plan, Report, Run, find_sources, survey
    from pgv_jax.data.samples import log_path
    from pgv_jax.errors import PgvError

    log = log_path(path)
    pairs = dict(pair.split("=", 1) for pair in columns.split() if "=" in pair)
    options = Options(agent=agent, columns=pairs)
    plan = Plan((log,), out=log, format=form, options=options, on_error="skip")
    sources = find_sources(plan)
    for source in sources:
        name = path if source.path == log else source.path  # a sample goes by its name
        say(f"{name}: {source.importer.name}, because {source.why}", err=True)
    for line in passed_lines(sources.passed):
        say(line, err=True)
    report = Report(sources)
    try:
        report.findings = survey(plan, sources)
    except PgvError as question:  # what success is, is only asked before anything is written
        say(f"pgv import would ask: {question}", err=True)
        plan = replace(plan, success="null")
        report.findings = survey(plan, sources)
    yield from Run(plan, report, io.StringIO()).episodes()
    for line in report.first_rejected:
        say(f"left out: {line}", err=True)
    if report.rejected:
        say(f"{report.rejected:,} records were left out.", err=True)
    for line in (*report.findings.sentences, *tally_lines(report)):
        say(line, err=True)


def _token_counter(spec: str) -> Callable[[str], int]:
    from pgv_jax.embed.encoder_specs import open_encoder
    from pgv_jax.errors import PgvError

    tokenizer = getattr(open_encoder(spec), "tokenizer", None)
    if tokenizer is None:
        raise PgvError(f"Encoder '{spec}' has no tokenizer to count with; leave --encoder out.")
    special = len(tokenizer.head) + len(tokenizer.tail)
    return lambda text: special + len(tokenizer.bare([text])[0])
