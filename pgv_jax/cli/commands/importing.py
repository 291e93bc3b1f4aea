"""``pgv import``: from anybody's agent logs to a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pgv_jax.data.episodes import DatasetSummary
    from pgv_jax.data.importers.pipeline import Plan, Report


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The dataset's folder.")
@click.option(
    "--format",
    "form",
    default="auto",
    show_default=True,
    help="Importer, or FILE.py:Class of your own; auto detects.",
)
@click.option("--rewards", type=click.Path(path_type=Path), help="JSONL or CSV with the outcomes.")
@click.option("--rewards-key", default="episode_id", show_default=True, help="Its key column.")
@click.option("--rewards-value", default="reward", show_default=True, help="Its outcome column.")
@click.option(
    "--rewards-on",
    default="episode_id",
    show_default=True,
    help="What the key is matched with: episode_id, task_id, file or metadata.KEY.",
)
@click.option("--rewards-where", multiple=True, metavar="COLUMN=VALUE", help="Only these rows.")
@click.option("--task-id-value", default="", help="The table's column with the task's id.")
@click.option("--success", help="Rule, for example 'reward >= 1'.")
@click.option("--strip-prefix", is_flag=True, help="Leave out what every prompt begins with.")
@click.option(
    "--redact",
    multiple=True,
    metavar="RULE",
    help="common, key, password, email, card, or NAME=REGEX; may be repeated.",
)
@click.option("--on-error", type=click.Choice(["stop", "skip"]), default="stop", show_default=True)
@click.option("--strict", is_flag=True, help="Refuse a log with parts that are not read.")
@click.option("--agent", help="The role that is the agent, where the log does not say.")
@click.option(
    "--column",
    multiple=True,
    metavar="OURS=THEIRS ...",
    help="Where the log has messages, or a table's episode, action, ...; may be repeated.",
)
@click.option("--task-field", help="Field (dotted) that holds the task's text.")
@click.option("--task-id-field", help="Field (dotted) that holds the task's id.")
@click.option("--episode-id-field", help="Field (dotted) that holds the episode's id.")
@click.option("--task", "task_text", help="The task's text, for logs that name none.")
@click.option("--source", default="", help="Where the logs are from; kept with the dataset.")
@click.option("--licence", default="", help="Their licence; kept with the dataset.")
@click.option("--overwrite", is_flag=True, help="Replace another dataset in the same folder.")
@click.option(
    "--held-out",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0, 0.45, min_open=True),
    help="Share of the tasks without a split that choose a critic; the same share judges it.",
)
@click.option(
    "--splits-of",
    type=click.Path(path_type=Path),
    metavar="DATASET",
    help="Tasks of this dataset keep their split; new ones are dealt.",
)
@click.option("--quiet", is_flag=True, help="No parsed episode, no progress.")
def import_(files: tuple[Path, ...], quiet: bool, **said: Any) -> None:
    """Turn agent logs into a dataset of episodes (RLDS).

    FILES may be files, folders or sample:smollm2-cooking, a log that comes with the package.
    """
    from pgv_jax.cli.console import inert, on_stderr, say
    from pgv_jax.data.importers.pipeline import find_sources, run_import
    from pgv_jax.data.samples import log_path
    from pgv_jax.report.description import sample_lines

    console = on_stderr(highlight=False, markup=False, soft_wrap=True)
    named = {log_path(file): file for file in files}  # a sample goes by its name
    files = tuple(log_path(file) for file in files)
    files, said["column"] = _columns_apart(files, said["column"])
    plan = _plan(files, said)
    sources = find_sources(plan)
    for source in sources[:10]:
        name = named.get(source.path, source.path)
        console.print(inert(f"{name}: {source.importer.name}, because {source.why}"))
    if len(sources) > 10:
        console.print(f"... and {len(sources) - 10} more files")
    for line in passed_lines(sources.passed):
        console.print(inert(line))
    report = (
        run_import(plan, sources) if quiet else _with_progress(console, plan, sources, run_import)
    )
    if report.first is not None and not quiet:
        say("\n".join(sample_lines(report.first)) + "\n")
    say("\n".join(summary_lines(report)))


def _columns_apart(
    files: tuple[Path, ...], columns: tuple[str, ...]
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """What follows ``--column a=b`` as words of its own belongs to it: ``c=d`` is no file."""
    if not columns:
        return files, columns
    pairs = [file for file in files if "=" in file.name and not file.exists()]
    logs = tuple(file for file in files if file not in pairs)
    return (logs, (*columns, *map(str, pairs))) if logs else (files, columns)


def _plan(files: tuple[Path, ...], said: dict[str, Any]) -> Plan:
    from pgv_jax.data.importers.base import Options
    from pgv_jax.data.importers.outcomes.rewards import Rewards
    from pgv_jax.data.importers.pipeline import Plan
    from pgv_jax.errors import PgvError

    columns = [pair for told in said["column"] for pair in told.split()]
    for pair in (*columns, *said["rewards_where"]):
        if "=" not in pair:
            raise PgvError(f"'{pair}' must be NAME=VALUE.")
    rewards = None
    if said["rewards"] is not None:
        if not said["rewards"].exists():
            raise PgvError(f"--rewards {said['rewards']} does not exist.")
        rewards = Rewards(
            said["rewards"],
            said["rewards_key"],
            said["rewards_value"],
            said["rewards_on"],
            said["rewards_where"],
            said["task_id_value"],
        )
    named = {"task": "task_field", "task_id": "task_id_field", "episode_id": "episode_id_field"}
    return Plan(
        paths=files,
        out=said["out"],
        format=said["form"],
        options=Options(
            agent=said["agent"],
            task_text=said["task_text"],
            columns=dict(pair.split("=", 1) for pair in columns),
            fields={ours: said[option] for ours, option in named.items() if said[option]},
        ),
        rewards=rewards,
        **{
            key: said[key]
            for key in (
                "success",
                "strip_prefix",
                "redact",
                "on_error",
                "strict",
                "source",
                "licence",
                "overwrite",
                "held_out",
                "splits_of",
            )
        },
    )


def _with_progress(console: Any, plan: Plan, sources: Any, run_import: Any) -> Report:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    episodes = steps = 0
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def advance(more: int) -> None:
            nonlocal episodes, steps
            episodes, steps = episodes + 1, steps + more
            if episodes % 50 == 1:
                bar.update(task, description=f"{episodes:,} episodes, {steps:,} steps")

        report: Report = run_import(plan, sources, advance)
    return report


def passed_lines(passed: list[tuple[Path, str]]) -> list[str]:
    """Name the files of folders that are no logs."""
    lines = [f"{path}: passed over, {why[:200]}" for path, why in passed[:10]]
    more = len(passed) - 10
    return [*lines, f"... and {more:,} more files were passed over"] if more > 0 else lines


def thoughts_line(thoughts: Mapping[str, int]) -> str:
    """Say where the thoughts are from."""
    from pgv_jax.data.thought_origin import OWN

    total = max(1, sum(thoughts.values()))
    own = sum(n for origin, n in thoughts.items() if origin in OWN)
    words = {
        "words": "the agent's words",
        "calls": "the call in words",
        "action": "the action",
        "repeated": "the task or the observation again",
        "none": "nothing",
    }
    rest = [
        f"{n / total:.0%} {words.get(origin, origin)}"
        for origin, n in sorted(thoughts.items(), key=lambda pair: -pair[1])
        if origin not in OWN
    ]
    others = f"; in place of it stand {', '.join(rest)}" if rest else ""
    return f"Thoughts: {own / total:.0%} of the steps have reasoning of their own{others}."


def tally_lines(report: Report) -> list[str]:
    """Say what was not read, changed or left empty."""
    tally, lines = report.tally, []
    for kind, n in tally.unread.most_common(10):
        at = f" (the first: {tally.first[kind]})" if tally.first.get(kind) else ""
        lines.append(
            f"{n:,} parts of type '{kind}' were not read: their JSON text stands for them, or a "
            f"mark where they are sealed{at}."
        )
    if tally.placeholders:
        kinds = ", ".join(f"[{kind}] {n:,}" for kind, n in tally.placeholders.most_common())
        lines.append(f"Images and sounds stand as marks: {kinds}.")
    if tally.converted:
        kinds = ", ".join(f"{kind} ({n:,})" for kind, n in tally.converted.most_common())
        lines.append(f"Values that JSON has no type for were converted: {kinds}.")
    for note, n in tally.notes.items():
        lines.append(f"{note[:1].upper()}{note[1:]}{f' ({n:,} times)' if n > 1 else ''}.")
    if report.without_action:
        lines.append(
            f"Steps with reasoning and no action: {report.without_action:,}; their action is empty."
        )
    return lines


def twin_lines(summary: DatasetSummary) -> list[str]:
    """Say which tasks are another one in other words, and where these were not looked for."""
    from pgv_jax.data.near import NEAR

    lines = []
    if summary.near:
        lines.append(
            f"{summary.near:,} tasks repeat another task in other words (similarity {NEAR} or "
            "more) and share its split."
        )
    if summary.crossing:
        lines.append(
            f"{summary.crossing:,} tasks repeat a task of another split in other words. The log "
            "assigned these splits, so held-out tasks are trained on. Leave `split` out of the "
            "log; `pgv evaluate` does not judge such tasks."
        )
    if summary.equal:
        lines.append(
            f"{summary.equal:,} tasks share their text with another task and have an id of their "
            "own. Texts do not tell tasks apart here, so repetitions in other words were not "
            "looked for. If equal texts are equal tasks, leave the ids out of the log."
        )
    return lines


def summary_lines(report: Report) -> list[str]:
    """Return the closing summary, one fact a line."""
    summary = report.summary
    assert summary is not None
    splits = ", ".join(f"{name} {part['episodes']:,}" for name, part in summary.splits.items())
    verb = "already held" if summary.reused else "holds"
    lines = [
        f"{summary.folder} {verb} {summary.episodes:,} episodes, {summary.steps:,} steps of "
        f"{summary.tasks:,} tasks ({splits}).",
        "Outcomes: "
        + ", ".join(f"{report.outcomes[k]:,} {k}" for k in ("success", "failure", "unknown"))
        + ".",
    ]
    lines.append(thoughts_line(report.thoughts))
    lines.extend(report.findings.sentences)
    lines.extend(twin_lines(summary))
    lines.extend(tally_lines(report))
    for source in report.sources:
        if source.prefix is not None:
            lines.append(
                f"Left out of every prompt: {source.prefix.messages} messages and "
                f"{source.prefix.characters:,} characters."
            )
            break
    for source in report.sources:
        if source.hint is not None:
            lines.append(
                f"The prompts of {source.path} share {source.hint.messages} messages and "
                f"{source.hint.characters:,} characters; --strip-prefix leaves them out."
            )
    if report.redactions:
        counts = ", ".join(f"{name} {n:,}" for name, n in sorted(report.redactions.items()))
        lines.append(f"Redacted: {counts}.")
    if report.renamed:
        lines.append(f"{report.renamed:,} episode ids occurred again and were numbered (#2, ...).")
    if report.unmatched:
        lines.append(f"{report.unmatched:,} rows of --rewards matched no episode.")
    if report.outcomes["unknown"]:
        lines.append(
            f"{report.outcomes['unknown']:,} episodes have no outcome; join one with --rewards, or "
            "decide it with --success."
        )
    if report.rejected:
        lines.append(f"{report.rejected:,} records were set aside in {report.rejected_path}:")
        lines.extend(f"  {line}" for line in report.first_rejected)
    lines.append(f"Fingerprint {summary.fingerprint[:16]}. Next: pgv describe {summary.folder}")
    return lines
