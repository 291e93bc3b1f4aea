"""``pgv show``: one episode as a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pgv_jax.report.pages.episode_values import Values
    from pgv_jax.types import Episode


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="DATASET|RUN")
@click.option("--episode", "episode_id", required=True, metavar="ID", help="The episode's id.")
@click.option("--artifact", type=click.Path(path_type=Path), help="A critic to ask.")
@click.option(
    "--goal", "goals", multiple=True, help="Ask the critic for this. [the episode's own, success]"
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Embedding store of the critic. [DATASET/embeddings]",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The page."
)
def show(
    source: Path,
    episode_id: str,
    artifact: Path | None,
    goals: tuple[str, ...],
    store: Path | None,
    out: Path,
) -> None:
    """Show one episode of a dataset or a rollout, step by step, as an HTML page.

    With --artifact, the values of that critic; else those that the run recorded.

    \b
    pgv show runs/guided --episode critic/game-7/0 --out episode.html
    """
    from pgv_jax.data.episodes import KEEP, is_dataset
    from pgv_jax.errors import PgvError
    from pgv_jax.files import write_whole
    from pgv_jax.report.pages.episode import episode_page
    from pgv_jax.report.pages.episode_values import recorded

    if artifact is None and (goals or store):
        raise PgvError("--goal and --store are for a critic; name it with --artifact.")
    episode = _find(source, episode_id)
    if store is None and is_dataset(source):
        store = source / KEEP
    if artifact is None:
        values = recorded(episode)
    else:
        values = _ask(episode, artifact, goals, store, source)
    page = episode_page(episode, values, str(source))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, page)
    except OSError as error:
        raise PgvError(f"Cannot write {out}: {error.strerror}.") from None
    click.echo(f"Wrote {out} ({len(page.encode()) / 1e3:,.0f} kB, {len(episode.steps)} steps).")


def _find(source: Path, episode_id: str) -> Episode:
    from pgv_jax.errors import PgvError
    from pgv_jax.report.pages.episode import near_ids

    ids = []
    for episode in _episodes(source):
        if episode.episode_id == episode_id:
            return episode
        ids.append(episode.episode_id)
    if not ids:
        raise PgvError(f"{source} holds no episodes.")
    raise PgvError(
        f"{source} has no episode '{episode_id}' among its {len(ids):,}; near it are: "
        f"{', '.join(near_ids(episode_id, ids))}."
    )


def _episodes(source: Path) -> Iterable[Episode]:
    from pgv_jax.data.episodes import is_dataset, read_episodes
    from pgv_jax.report.comparison.runs import read_run

    return read_episodes(source) if is_dataset(source) else read_run(source)


def _ask(
    episode: Episode, artifact: Path, goals: Sequence[str], store: Path | None, source: Path
) -> Values:
    from dataclasses import replace

    from pgv_jax.critic.value import ValueFunction
    from pgv_jax.report.pages.episode_values import default_goals, expected, scored
    from pgv_jax.texts.templates import worded

    critic = ValueFunction.load(artifact, store=store)
    said = worded(episode, critic.step)
    values = scored(
        said,
        critic,
        goals or default_goals(episode),
        history=critic.history,
        heads=critic.manifest["heads"],
        name=str(artifact),
    )
    if critic.imagines:
        values = replace(values, expected=expected(said, critic, _sentences(source)))
    critic.flush()
    return values


def _sentences(source: Path) -> list[str]:
    """The distinct sentences of the first episodes' notes, which a critic may expect to see."""
    from pgv_jax.data.known_parts import MOST_KNOWN
    from pgv_jax.texts.templates import own_observation, sentences

    found: dict[str, None] = {}
    for episode in _episodes(source):
        for t in range(len(episode.steps) + 1):
            found.update(dict.fromkeys(sentences(own_observation(episode, t))))
        if len(found) >= MOST_KNOWN:
            break
    return list(found)[:MOST_KNOWN]
