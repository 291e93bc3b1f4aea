"""The examples of docs/guide.md, as they stand there, against a scripted upstream."""

from __future__ import annotations

import gc
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.serve.servers import completion, message

PAGE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text("utf-8")


def example(start: str) -> str:
    """The first Python block behind a line of the page."""
    found = re.search(rf"^{re.escape(start)}$.*?^```python\n(.*?)^```$", PAGE, re.S | re.M)
    assert found is not None
    return found.group(1)


def run(code: str, replacements: dict[str, str], capsys: Any) -> str:
    for old, new in replacements.items():
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "docs/guide.md", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out


def traveller(body: dict[str, Any]) -> dict[str, Any]:
    """The first candidate gives up, the third searches; once it has searched, the last is right."""
    searched = any(said["role"] == "tool" for said in body["messages"])
    good = message("Booked. 0.9") if searched else message("0.9", ("search", {"to": "Oslo"}))
    said = [message("I give up. 0.1"), message("Later. 0.3"), message("Perhaps. 0.2"), good]
    return completion(*said[: body.get("n", 1)])


def test_the_guide(capsys, toy_critic):
    said = run(example("## In Python"), {"runs/mine/artifact": str(toy_critic)}, capsys)
    first, *_ = said.splitlines()
    assert first.startswith(("0 [[", "1 [["))
    assert 'Good outcome: "The task is done."' in said
    assert 'Bad outcome: "The task has failed."' in said


def test_the_plain_client(upstream, server, capsys):
    upstream.script = lambda body: completion(
        *[message(said) for said in ("No. 0.1", "Perhaps. 0.2", "Yes. 0.9")]
    )
    address = {"http://127.0.0.1:8770": server.address}
    assert run(example("The plain client:"), address, capsys) == "Yes. 0.9\n"


def test_inspect_evaluates_with_and_without(upstream, server, capsys, tmp_path, monkeypatch):
    pytest.importorskip("inspect_ai", reason="inspect-ai is an extra")
    monkeypatch.setenv("INSPECT_LOG_DIR", str(tmp_path))
    upstream.script = traveller_who_needs_no_search
    code = example(next(line for line in PAGE.splitlines() if line.startswith("Inspect, ")))
    address = {"http://127.0.0.1:8770": server.address}
    alone = {"http://127.0.0.1:8770/v1": f"{server.serving.settings.upstream}"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, in threads of its own
        assert run(code, address, capsys) == "1.0\n"
        assert run(code, alone, capsys) == "0.0\n"
        gc.collect()


def traveller_who_needs_no_search(body: dict[str, Any]) -> dict[str, Any]:
    said = [message("I give up. 0.1"), message("Later. 0.3"), message("Booked. 0.9")]
    return completion(*said[: body.get("n", 1)])


@pytest.mark.parametrize("name", ["pydantic-ai:", "The OpenAI Agents SDK:"])
def test_a_framework_finishes_a_task_that_it_fails_alone(upstream, server, capsys, name):
    upstream.script = traveller
    with warnings.catch_warnings():
        # A framework's run_sync leaves its loop and its client to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        finishes(name, upstream, server, capsys)
        gc.collect()


def finishes(name, upstream, server, capsys):
    code, address = example(name), {"http://127.0.0.1:8770": server.address}
    assert run(code, address, capsys) == "Booked. 0.9\n"
    told = upstream.bodies[-1]["messages"]
    assert [m["content"] for m in told if m["role"] == "tool"] == ["Two flights to Oslo."]
    alone = {"http://127.0.0.1:8770/v1": f"{server.serving.settings.upstream}"}
    assert run(code, alone, capsys) == "I give up. 0.1\n"
