"""Two calls of a model with a tool between them: what every export of a tracing tool tells."""

from pathlib import Path
from typing import Any

from pgv_jax.data.importers.detection import detect

from ..reading import imported, rows

CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
}
FIRST = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather in Oslo?"},
]
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
SECOND = [*FIRST, ASKED, {"role": "tool", "tool_call_id": "c1", "content": "4 degrees"}]
SAID = {"role": "assistant", "content": "It is 4 degrees."}
EXPECTED = [
    ("Weather in Oslo?", "Call weather with city Oslo.", 'weather({"city": "Oslo"})'),
    ("4 degrees", "It is 4 degrees.", "It is 4 degrees."),
]


def only(path: Path, name: str, **plan: Any) -> Any:
    assert detect(path).importer.name == name
    (episode,), _ = imported(path, **plan)
    assert rows(episode) == EXPECTED
    return episode
