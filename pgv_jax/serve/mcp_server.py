"""The critic as tools of the Model Context Protocol, so that an agent can ask by itself."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from pgv_jax import __version__
from pgv_jax.errors import PgvError
from pgv_jax.guide.guide import Guide

INSTRUCTIONS = """\
A critic that learned from earlier attempts at such tasks. `choose` says which of several next \
thoughts is best, `critique` says in words what one thought leads to, `value` says how well things \
stand. `observation` is what you see now, in the words of your log. Goals are sentences about the \
future, such as "The task is done."; without any, the usual ones are asked."""


def mcp_server(guide: Guide) -> MCPServer[Any]:
    """A server with the tools ``choose``, ``critique`` and ``value`` over one guide."""
    server: MCPServer[Any] = MCPServer("pgv", instructions=INSTRUCTIONS, version=__version__)

    @server.tool()
    async def choose(
        observation: str, thoughts: list[str], task: str = "", goals: list[str] | None = None
    ) -> dict[str, Any]:
        """Say which of several next thoughts is best, with the values of all for every goal."""
        return await _told(_choose(observation, thoughts, task, goals))

    @server.tool()
    async def critique(
        observation: str, thought: str, task: str = "", goals: list[str] | None = None
    ) -> str:
        """Say in words how likely each goal comes true after one thought."""
        asked = {"task": task, "observation": observation}
        return await _told(guide.acritique(None, thought, goals, **asked))

    @server.tool()
    async def value(
        observation: str, task: str = "", goals: list[str] | None = None
    ) -> dict[str, float]:
        """Say how well things stand for every goal, whatever is done next."""
        return await _told(_value(observation, task, goals))

    async def _choose(
        observation: str, thoughts: list[str], task: str, goals: list[str] | None
    ) -> dict[str, Any]:
        choice = await guide.achoose(
            task=task, observation=observation, thoughts=thoughts, goals=goals
        )
        return {"thought": choice.candidate, **choice.to_json()}

    async def _value(observation: str, task: str, goals: list[str] | None) -> dict[str, float]:
        values = await guide.avalue(None, goals, task=task, observation=observation)
        asked = guide.goals if goals is None else goals
        return {goal: round(float(v), 6) for goal, v in zip(asked, values, strict=True)}

    return server


async def _told(asking: Any) -> Any:
    """The answer, or the one sentence that says why there is none."""
    try:
        return await asking
    except PgvError as error:
        raise ToolError(str(error)) from None
