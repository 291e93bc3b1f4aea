"""Outcomes are never decided by truthiness; rules are three-valued and run no code."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.importers.outcomes.outcome import (
    Outcome,
    outcome_of,
    tristate,
    with_outcome,
)
from pgv_jax.data.importers.outcomes.rewards import Rewards
from pgv_jax.data.importers.outcomes.rule import SuccessRule
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode, Step

from ...strategies import json_values


def episode(**fields: Any) -> Episode:
    return Episode("e", "t", "x", (Step("o", "h", "a"), Step("o", "h", "a")), "f", **fields)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        (1.0, True),
        (0.5, None),
        (None, None),
        ("True", True),
        ("no", False),
        ("C", True),
        ("I", False),
        ("0", False),
        ("maybe", None),
        ([], None),
        ([1], None),
        ({}, None),
        (float("nan"), None),
    ],
)
def test_tristate(value: Any, expected: bool | None) -> None:
    assert tristate(value) is expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"reward": 0.4, "correct": False}, Outcome(False, 0.4)),
        ({"result": 0}, Outcome(False, None)),
        ({"result": False}, Outcome(False, None)),
        ({"result": 0.25}, Outcome(None, 0.25)),
        ({"reward": True}, Outcome(True, None)),
        ({"reward": "1.5"}, Outcome(None, 1.5)),
        ({"score": "8/10"}, Outcome(None, 0.8)),
        ({"score": "85 %"}, Outcome(None, 0.85)),
        ({"score": "1/0"}, Outcome(None, None)),
        ({"result": "\u2705"}, Outcome(True, None)),
        ({"result": "\u274c"}, Outcome(False, None)),
        ({"reward": 0, "done": False}, Outcome(None, 0.0, True)),
        ({"reward": 0, "info": {"terminated": "no"}}, Outcome(None, 0.0, True)),
        ({"reward": 0, "done": True, "terminated": None}, Outcome(None, 0.0)),
        ({"extra": {"reward": 1}}, Outcome(None, 1.0)),
        ({"success": None, "halted": True}, Outcome(None, None, True)),
        ({}, Outcome()),
    ],
)
def test_outcome_of(record: dict[str, Any], expected: Outcome) -> None:
    assert outcome_of(record) == expected


def test_with_outcome() -> None:
    won = with_outcome(episode(), Outcome(reward=1.0))
    assert (won.success, won.score, won.is_terminal) == (True, 1.0, True)
    assert [s.reward for s in won.steps] == [None, 1.0]
    cut = with_outcome(episode(), Outcome(success=False, cut=True))
    assert (cut.success, cut.is_terminal) == (False, False)
    unknown = with_outcome(episode(), Outcome())
    assert (unknown.success, unknown.is_terminal) == (None, False)
    beyond = with_outcome(episode(), Outcome(reward=-3.0))
    assert (beyond.success, beyond.score, beyond.metadata["reward"]) == (None, None, -3.0)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("reward >= 1", None),
        ("score > 0.3", True),
        ("0.3 < score <= 0.4", True),
        ("score == 0.4 and steps < 2", False),
        ("steps == 2 or reward > 9", True),
        ("steps == 3 and reward > 9", False),
        ("steps == 2 and reward > 9", None),
        ("not reward > 9", None),
        ("not steps == 3", True),
        ("success", False),
        ("success == false", True),
        ("metadata.a.b >= 2", True),
        ("metadata.name == 'x'", True),
        ("metadata.absent == 1", None),
        ("metadata.name > 1", None),
        ("score > -1", True),
        ("true", True),
    ],
)
def test_rules(rule: str, expected: bool | None) -> None:
    given_ = episode(score=0.4, success=False, metadata={"a": {"b": "2"}, "name": "x"})
    if "reward" in rule:  # the score stands in for a reward that is not logged: take it away
        given_ = episode(success=False)
    assert SuccessRule(rule)(given_) is expected


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "reward >=",
        "rewards > 1",
        "__import__('os')",
        "score.__class__",
        "metadata",
        "reward + 1 > 2",
        "[x for x in y]",
        "lambda: 1",
        "reward if 1 else 2",
        "reward in (1, 2)",
        "(" * 500,
        "reward > 1; reward",
        "metadata['a'] > 1",
        "\0",
    ],
)
def test_what_is_no_rule_is_a_sentence(rule: str) -> None:
    with pytest.raises(PgvError, match="--success"):
        SuccessRule(rule)


@given(st.text(max_size=30))
def test_any_text_is_a_rule_or_a_sentence(text: str) -> None:
    with contextlib.suppress(PgvError):
        SuccessRule(text)(episode())


@given(
    st.dictionaries(
        st.sampled_from(["success", "reward", "result", "extra", "halted"]), json_values
    )
)
def test_any_record_has_an_outcome(record: dict[str, Any]) -> None:
    found = outcome_of(record)
    assert found.success in (True, False, None)
    assert found.score is None or 0 <= found.score <= 1


def test_rewards_from_a_table(tmp_path: Path) -> None:
    table = tmp_path / "info.csv"
    table.write_text("id,role,gift\ne,0,0\ne,1,2.5\nz,1,1\n")
    rewards = Rewards(table, "id", "gift", where=("role=1",))
    joined = rewards.apply(episode())
    assert (joined.metadata["reward"], joined.score) == (2.5, None)
    assert SuccessRule("reward > 0")(joined) is True
    assert len(rewards.values) - len(rewards.used) == 1
    with pytest.raises(PgvError, match=r"info.csv:3: 'id' e has two values of 'gift': 0 and 2.5"):
        Rewards(table, "id", "gift")
    with pytest.raises(PgvError, match=r"no column 'reward'; it has id, role, gift"):
        Rewards(table, "id", "reward")


def test_rewards_from_jsonl(tmp_path: Path) -> None:
    table = tmp_path / "r.jsonl"
    table.write_text(json.dumps({"task": 3, "won": "true"}) + "\n")
    given_ = episode(metadata={"record": {"n": 3}})
    joined = Rewards(table, "task", "won", on="metadata.record.n").apply(given_)
    assert joined.success is True and joined.is_terminal
    untouched = Rewards(table, "task", "won").apply(given_)
    assert untouched is given_
    with pytest.raises(PgvError, match="no field of an episode"):
        Rewards(table, "task", "won", on="steps").apply(given_)
    table.write_text("[1, 2]\n")
    with pytest.raises(PgvError, match="one object a line"):
        Rewards(table, "task", "won")
