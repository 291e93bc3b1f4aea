"""The shared beginning of prompts."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.importers.base import Prefix
from pgv_jax.data.importers.pipeline import Plan, find_sources, run_import
from pgv_jax.data.importers.prefix import common_prefix, shared_text

SHOTS = "Here is an example that is long enough.\nQuestion: a\nThought: b\nAction: c\n\n"


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_shared_text(start: str, one: str, other: str) -> None:
    found = shared_text(start + one, start + other)
    assert found.startswith(start)
    assert (start + one).startswith(found) and (start + other).startswith(found)
    longer = len(found) + 1
    assert (start + one)[:longer] != (start + other)[:longer] or longer > len(start + one)


def test_text_is_cut_back_to_a_line() -> None:
    prompts = [f"{SHOTS}Question: Who {x}" for x in ("am I?", "are you?")]
    assert common_prefix(prompts) == Prefix(0, len(SHOTS), SHOTS)
    assert common_prefix([prompts[0]]) is None
    assert common_prefix(["Question: a\nb", "Question: a\nc"]) is None  # too short to mean much
    assert common_prefix([]) is None
    assert common_prefix(["a", [{"role": "user"}]]) is None


def chat(task: str, answer: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": "Rules."},
            {"role": "user", "content": "Example?"},
            {"role": "assistant", "content": "Example."},
            {"role": "user", "content": f"{SHOTS}{task}"},
            {"role": "assistant", "content": answer},
        ]
    }


def test_messages_then_text(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    logs = [chat("Find it.", "Here."), chat("Lose it.", "Gone.")]
    path.write_text("\n".join(map(json.dumps, logs)))
    plan = Plan((path,), tmp_path / "d", strip_prefix=True)
    (source,) = find_sources(plan)
    assert source.prefix == Prefix(3, len(SHOTS), SHOTS)
    report = run_import(plan, [source])
    assert report.first is not None
    assert [(s.observation, s.action) for s in report.first.steps] == [("Find it.", "Here.")]
    assert report.first.task == "Find it."
    from pgv_jax.data.importers.to_openai import to_openai

    assert to_openai(report.first) == logs[0]["messages"]  # nothing is lost
    (source,) = find_sources(Plan((path,), tmp_path / "d"))
    assert source.prefix is None and source.hint == Prefix(3, len(SHOTS), SHOTS)
