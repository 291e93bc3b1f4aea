"""``pgv serve`` and ``pgv mcp``: the critic in anybody's agent."""

from __future__ import annotations

import click

from pgv_jax.errors import PgvError
from pgv_jax.parts import part


@click.command()
@click.argument("artifact")
@click.option("--upstream", metavar="URL", help="The model's API, such as https://HOST/v1.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8770, show_default=True, help="Where to listen.")
@click.option("--key-env", metavar="NAME", help="The variable with the key that clients need.")
@click.option("--upstream-key-env", metavar="NAME", help="The variable with the upstream's key.")
@click.option(
    "--strategy",
    type=click.Choice(["best-of-n", "refine", "shadow", "off"]),
    default="best-of-n",
    show_default=True,
    help="For a request that names none.",
)
@click.option("--candidates", "-n", default=4, show_default=True, help="Candidates a decision.")
@click.option("--goal", "goals", multiple=True, help="A goal's sentence; may be repeated.")
@click.option(
    "--weight", "weights", type=float, multiple=True, help="Weight of a goal; one for each."
)
@click.option("--deadline", default=2.0, show_default=True, help="Seconds that the critic has.")
@click.option(
    "--patience", default=10.0, show_default=True, help="Seconds for candidates after the first."
)
@click.option(
    "--max-distance",
    default=1.5,
    show_default=True,
    help="Doubt above this multiple of the usual distance from the training data.",
)
@click.option("--max-disagreement", type=float, help="Doubt above this spread of the ensemble.")
@click.option(
    "--log",
    "folder",
    type=click.Path(file_okay=False),
    default="runs/served",
    show_default=True,
    help="The folder of the decisions, for `pgv import`.",
)
@click.option("--no-log", is_flag=True, help="Keep no log.")
@click.option("--redact", multiple=True, help="A rule as in `pgv import`: common, NAME=REGEX.")
@click.option("--max-body", default=32, show_default=True, help="Megabytes of a request.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds of upstream silence.")
@click.option("--store", type=click.Path(), help="Embeddings to read and to add to.")
def serve(
    artifact: str,
    upstream: str | None,
    host: str,
    port: int,
    key_env: str | None,
    upstream_key_env: str | None,
    folder: str,
    no_log: bool,
    redact: tuple[str, ...],
    max_body: int,
    timeout: float,
    store: str | None,
    **wishes: object,
) -> None:
    """Serve an OpenAI- and Anthropic-compatible API whose answers the critic of ARTIFACT chooses.

    \b
    pgv serve runs/mine/artifact --upstream https://api.openai.com/v1
    Point a client's base_url at http://127.0.0.1:8770/v1; docs/guide.md has examples.
    """
    from pathlib import Path

    from pgv_jax.cli.console import logged
    from pgv_jax.serve.options import Ask, Settings
    from pgv_jax.serve.process import run
    from pgv_jax.serve.refusals import RefusalError

    own = {key: value for key, value in wishes.items() if value not in (None, ())}
    own |= {key: list(value) for key, value in own.items() if isinstance(value, tuple)}
    try:
        ask = Ask().with_own(own)
    except RefusalError as error:
        raise PgvError(
            error.message.replace("'pgv.", "'--").replace("'pgv'", "The options")
        ) from None
    settings = Settings(
        artifact=artifact,
        upstream=upstream,
        host=host,
        port=port,
        key=_key(key_env),
        upstream_key=_key(upstream_key_env),
        ask=ask,
        log=None if no_log else Path(folder),
        redact=redact,
        max_body=max_body * 2**20,
        timeout=timeout,
        store=store,
    )
    with logged():
        run(settings, click.echo)


@click.command()
@click.argument("artifact")
@click.option("--goal", "goals", multiple=True, help="A goal's sentence; may be given often.")
@click.option("--store", type=click.Path(), help="Embeddings to read and to add to.")
def mcp(artifact: str, goals: tuple[str, ...], store: str | None) -> None:
    """Answer an agent's questions to the critic of ARTIFACT over stdin and stdout.

    The tools are choose, critique and value; needs the extra `mcp`.
    """
    with part("mcp", "The MCP server"):
        from pgv_jax.serve.mcp_server import mcp_server
    from pgv_jax.guide.guide import Guide
    from pgv_jax.texts.templates import SUCCESS

    guide = Guide.load(artifact, goals=goals or (SUCCESS,), store=store)
    mcp_server(guide).run("stdio")


def _key(variable: str | None) -> str | None:
    import os

    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key:
        raise PgvError(f"The environment variable {variable} is empty; put the key into it.")
    return key
