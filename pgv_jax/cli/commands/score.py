"""``pgv score``: add a critic's values to a file of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pgv_jax.errors import PgvError
from pgv_jax.files import aside

if TYPE_CHECKING:
    from pgv_jax.critic.value import ValueFunction

LINES = 4096
"""Lines scored and written at a time."""


@click.command()
@click.argument("artifact", type=click.Path())
@click.option("--in", "source", required=True, type=click.Path(), help="JSON lines to score.")
@click.option(
    "--out", "target", required=True, type=click.Path(), help="The same lines with q and v."
)
@click.option("--store", type=click.Path(), help="Embeddings to use.")
def score(artifact: str, source: str, target: str, store: str | None) -> None:
    """Read {"task", "observation", "thought", "goal"} lines; write them with "q" and "v".

    "task" may be left out. The output appears whole or not at all.
    """
    import json
    from pathlib import Path

    from pgv_jax.cli.console import console
    from pgv_jax.critic.value import ValueFunction

    if not Path(source).is_file():
        raise PgvError(f"{source} does not exist; --in names a file of JSON lines.")
    if not Path(target).absolute().parent.is_dir():
        raise PgvError(f"{target} cannot be written: its folder does not exist; make it first.")
    value = ValueFunction.load(artifact, store=store)
    count = 0
    with aside(Path(target)) as unfinished:
        # Half a surrogate pair, which JSON can say, goes out as it came in.
        with unfinished.open("w", encoding="utf-8", errors="surrogatepass") as out:
            for part in _parts(source):
                for pair in _scored(value, part):
                    out.write(json.dumps(pair, ensure_ascii=False) + "\n")
                count += len(part)
        if not count:
            raise PgvError(f"{source} has no lines; nothing was scored.")
    console.print(f"{count} pairs scored: {target}")


def _parts(source: str) -> Iterator[list[dict[str, Any]]]:
    """Read checked lines, ``LINES`` at a time."""
    from pathlib import Path

    from pgv_jax.data.storage.jsonl import FieldError, numbered_lines, parse_json

    part: list[dict[str, Any]] = []
    for number, line in numbered_lines(Path(source)):
        try:
            pair = parse_json(line)
        except FieldError as error:
            raise PgvError(f"{source}:{number}: not JSON ({error}).") from None
        if not isinstance(pair, dict):
            raise PgvError(f"{source}:{number}: not a JSON object.")
        pair.setdefault("task", "")
        for field in ("task", "observation", "thought", "goal"):
            if not isinstance(pair.get(field), str):
                raise PgvError(f"{source}:{number}: {field}: a text is needed.")
        part.append(pair)
        if len(part) == LINES:
            yield part
            part = []
    if part:
        yield part


def _scored(value: ValueFunction, pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from pgv_jax.texts.segments import SEPARATOR
    from pgv_jax.texts.templates import EPISODE

    tasks, observations, thoughts, goals = (
        [pair[field] for pair in pairs] for field in ("task", "observation", "thought", "goal")
    )
    if value.history == EPISODE and not all(SEPARATOR in seen for seen in observations):
        raise PgvError(
            "The critic was trained on whole episodes, so an observation alone says too little; "
            "give what pgv_jax.texts.templates.observation_text(episode, t, 'episode') returns."
        )
    columns = {}
    if "q" in value.manifest["heads"]:
        columns["q"] = value.q_pairs(tasks, observations, thoughts, goals)
    if "v" in value.manifest["heads"]:
        columns["v"] = value.v_pairs(tasks, observations, goals)
    return [
        {**pair, **{name: float(scores[i]) for name, scores in columns.items()}}
        for i, pair in enumerate(pairs)
    ]
