"""Episodes JSONL: exact round trips, and errors that say file, line, field and why."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.storage import jsonl
from pgv_jax.errors import PgvError
from pgv_jax.types import Candidate, Episode

from .. import strategies

MINIMAL: dict[str, Any] = {
    "episode_id": "e",
    "task_id": "t",
    "task": "x",
    "steps": [{"observation": "o", "thought": "h", "action": "a"}],
    "final_observation": "f",
}


@given(strategies.episodes)
def test_round_trip_is_exact(episode: Episode) -> None:
    line = json.dumps(jsonl.episode_to_json(episode))
    assert jsonl.episode_from_line(line.encode()) == episode
    assert jsonl.episode_from_json(jsonl.parse_json(line)) == episode


def test_file_round_trip(tmp_path: Path) -> None:
    episodes = [jsonl.episode_from_json({**MINIMAL, "episode_id": f"é{i}"}) for i in range(3)]
    for name in ("a.jsonl", "a.jsonl.gz"):
        assert jsonl.write_jsonl(tmp_path / name, episodes) == 3
        assert list(jsonl.read_jsonl(tmp_path / name)) == episodes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.gz"]


def test_defaults() -> None:
    unknown = jsonl.episode_from_json(MINIMAL)
    assert (unknown.success, unknown.is_terminal, unknown.split) == (None, False, None)
    assert jsonl.episode_from_json({**MINIMAL, "success": False}).is_terminal
    assert not jsonl.episode_from_json({**MINIMAL, "success": True, "terminal": False}).is_terminal
    assert jsonl.episode_from_json({**MINIMAL, "episode_id": 7}).episode_id == "7"
    step = {**MINIMAL["steps"][0], "candidates": ["go", {"thought": "stay", "correct": True}]}
    assert jsonl.episode_from_json({**MINIMAL, "steps": [step]}).steps[0].candidates == (
        Candidate("go"),
        Candidate("stay", correct=True),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"success": 1}, "success: must be true, false or null, not 1"),
        ({"success": "True"}, "success: must be true, false or null, not .True"),
        ({"score": 1.5}, "score: must be less than or equal to 1, not 1.5"),
        ({"score": float("nan")}, "score: must be a finite number, not NaN"),
        ({"score": 10**400}, "score: must be a finite number, or left out, not 1000"),
        ({"score": True}, "score: must be a finite number, or left out, not true"),
        ({"steps": {}}, "steps: must be a list, not an object"),
        ({"steps": [3]}, r"steps\[0\]: must be an object, not 3"),
        ({"steps": [{"observation": None}]}, r"steps\[0\].observation: must be text, not null"),
        ({"task": "\ud800"}, "task: holds half a surrogate pair"),
        ({"metadata": {"a": [0, "\ud800"]}}, r"metadata: is not JSON at \['a'\]\[1\] \('.ud800"),
        ({"split": "dev"}, "split: must be 'train', 'val' or 'test', not .dev"),
        ({"episode_id": " "}, "episode_id: is empty"),
        ({"sucess": True}, "sucess: is not a field of Episodes JSONL; did you mean 'success'"),
        (
            {"steps": [{"thougt": "h"}]},
            r"steps\[0\].thougt: is not a field .*; did you mean 'thought'",
        ),
        (
            {"steps": [{**MINIMAL["steps"][0], "candidates": ["go", {"thought": 3}]}]},
            r"steps\[0\].candidates\[1\].thought: must be text, not 3",
        ),
        ({"terminal": 0}, "terminal: must be true, false or null, not 0"),
    ],
)
def test_errors_name_field_and_reason(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PgvError, match=message):
        jsonl.episode_from_json({**MINIMAL, **change})
    with pytest.raises(PgvError, match=message):
        jsonl.episode_from_line(json.dumps({**MINIMAL, **change}).encode())


@pytest.mark.parametrize("missing", sorted(MINIMAL))
def test_required_fields(missing: str) -> None:
    obj = {key: value for key, value in MINIMAL.items() if key != missing}
    with pytest.raises(PgvError, match=f"{missing}: is missing"):
        jsonl.episode_from_json(obj)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "json: "),
        (b"[" * 100_000, "json: is nested too deeply"),
        (b'"\xff"', "json: is not UTF-8"),
        (b"9" * 5000, "json: "),
        (b"3", "episode: must be an object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, why: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(MINIMAL).encode() + b"\n\n" + line + b"\n")
    read = jsonl.read_jsonl(path)
    assert next(read).episode_id == "e"
    with pytest.raises(PgvError, match=f"log.jsonl:3: {why}"):
        next(read)


def test_a_truncated_gzip_and_a_missing_file_are_sentences(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(MINIMAL).encode() * 50)[:-20])
    with pytest.raises(PgvError, match="Cannot read"):
        list(jsonl.read_jsonl(path))
    with pytest.raises(PgvError, match="Cannot read"):
        list(jsonl.read_jsonl(tmp_path / "absent.jsonl"))


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def episodes() -> Any:
        yield jsonl.episode_from_json(MINIMAL)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jsonl.write_jsonl(tmp_path / "a.jsonl", episodes())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PgvError, match="does not exist"):
        jsonl.write_jsonl(tmp_path / "no" / "a.jsonl", [])


@given(
    strategies.json_values
    | st.dictionaries(st.sampled_from([*MINIMAL, "score", "metadata"]), strategies.json_values)
)
def test_any_json_is_an_episode_or_a_field_error(value: Any) -> None:
    try:
        jsonl.episode_from_json(value)
    except jsonl.FieldError as error:
        assert error.field and error.why
