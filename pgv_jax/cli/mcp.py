"""``pgv mcp``: the critic as tools of the Model Context Protocol."""

from __future__ import annotations

import click

from pgv_jax.parts import part


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
