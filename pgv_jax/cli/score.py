"""``pgv score``: add a critic's values to a file of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pgv_jax.value import ValueFunction

LINES = 4096
"""Lines scored and written at a time."""


@click.command()
@click.argument("artifact", type=click.Path())
@click.option("--in", "source", required=True, type=click.Path(), help="JSON lines to score.")
@click.option("--out", "target", required=True, type=click.Path(), help="Where they go, with q, v.")
@click.option("--store", type=click.Path(), help="Embeddings to use and to extend.")
def score(artifact: str, source: str, target: str, store: str | None) -> None:
    """Read {"task", "observation", "thought", "goal"} lines; write them with "q" and "v".

    "task" may be left out. The output appears whole or not at all.
    """
    import json
    import os
    from pathlib import Path

    from pgv_jax.cli.console import console
    from pgv_jax.errors import PgvError
    from pgv_jax.value import ValueFunction

    if not Path(source).is_file():
        raise PgvError(f"{source} does not exist; --in names a file of JSON lines.")
    value = ValueFunction.load(artifact, store=store)
    count = 0
    temporary = f"{target}.partial"
    with open(temporary, "w", encoding="utf-8") as out:
        for part in _parts(source):
            for pair in _scored(value, part):
                out.write(json.dumps(pair, ensure_ascii=False) + "\n")
            count += len(part)
    if not count:
        os.remove(temporary)
        raise PgvError(f"{source} holds no lines; nothing was scored.")
    os.replace(temporary, target)
    console.print(f"{count} pairs scored: {target}")


def _parts(source: str) -> Iterator[list[dict[str, Any]]]:
    """Read checked lines, ``LINES`` at a time."""
    import json

    from pgv_jax.errors import PgvError

    part: list[dict[str, Any]] = []
    with open(source, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                pair = json.loads(line)
            except ValueError as error:
                raise PgvError(f"{source}:{number}: not JSON ({error}).") from None
            for field in ("observation", "thought", "goal"):
                if not isinstance(pair, dict) or not isinstance(pair.get(field), str):
                    raise PgvError(f"{source}:{number}: {field}: a text is needed.")
            part.append(pair)
            if len(part) == LINES:
                yield part
                part = []
    if part:
        yield part


def _scored(value: ValueFunction, pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tasks = [str(pair.get("task") or "") for pair in pairs]
    observations, thoughts, goals = (
        [pair[field] for pair in pairs] for field in ("observation", "thought", "goal")
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
