import asyncio
from pathlib import Path

import pytest

from pgv_jax.agents.prompt import AGAIN, Prompt, ask
from pgv_jax.agents.refine import PROMPTS
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request, ScriptedClient


def test_a_users_file_comes_first_and_changes_the_version(tmp_path: Path) -> None:
    shipped = Prompt.load("refine")
    assert Prompt.load("refine", tmp_path) == shipped
    (tmp_path / "refine.txt").write_text("Mine.\n---\nThe plan is $thought")
    mine = Prompt.load("refine", tmp_path)
    assert mine.version != shipped.version and len(mine.version) == 12
    assert mine.messages(thought="to go") == [
        {"role": "system", "content": "Mine."},
        {"role": "user", "content": "The plan is to go"},
    ]


@pytest.mark.parametrize("name", PROMPTS)
def test_shipped_prompts_fill_in(name: str) -> None:
    values = {"situation": "S", "thought": "T", "value": "V", "goals": "G"}
    values |= {"examples": "E", "earlier": "L"}
    system, user = Prompt.load(name).messages(count=2, **values)
    assert system["role"] == "system" and "S" in user["content"] and "$" not in user["content"]


def test_what_is_filled_in_is_never_read_as_a_template() -> None:
    prompt = Prompt("p", "head\n---\n$thought", "p.txt")
    filled = prompt.messages(thought="costs $5\n---\n$situation")
    assert filled[1]["content"] == "costs $5\n---\n$situation"


def test_unknown_names_and_stray_dollars_are_told(tmp_path: Path) -> None:
    with pytest.raises(PgvError, match=r"p.txt asks for \$plan, but there are only \$thought"):
        Prompt("p", "$plan", "p.txt").messages(thought="t")
    with pytest.raises(PgvError, match=r"a \$ that starts no name"):
        Prompt("p", "5 $ each", "p.txt").messages(thought="t")
    with pytest.raises(PgvError, match="does not exist"):
        Prompt.load("refine", tmp_path / "none")


@pytest.mark.parametrize(
    ("answers", "value", "malformed"),
    [(["7"], 7, 0), (["seven", "7"], 7, 1), (["seven", "", "7"], None, 2)],
)
def test_a_malformed_answer_is_asked_for_once_more(
    answers: list[str], value: int | None, malformed: int
) -> None:
    seen: list[Request] = []

    def policy(request: Request, index: int) -> str:
        seen.append(request)
        return answers[len(seen) - 1]

    start = [{"role": "user", "content": "How many?"}]
    parse = {"7": 7}.get
    answer = asyncio.run(
        ask(ScriptedClient(policy), start, parse, seed=3, temperature=0.5, max_tokens=9)
    )
    assert (answer.value, answer.malformed) == (value, malformed)
    assert len(answer.completions) == len(seen) == min(2, malformed + 1)
    assert [r.seed for r in seen] == [3, 4][: len(seen)]  # or a cache would answer as before
    if malformed:
        assert [m["content"] for m in seen[1].messages] == ["How many?", "seven", AGAIN]
