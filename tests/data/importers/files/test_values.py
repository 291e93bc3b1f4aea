"""Values that JSON has no type for are converted and counted; a reward of NaN is an error."""

import datetime
import decimal
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.importers.base import Importer, Options
from pgv_jax.data.importers.files.values import plain, settled
from pgv_jax.data.importers.pipeline import Plan, run_import
from pgv_jax.data.importers.source import Source
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.jsonl import checked
from pgv_jax.errors import PgvError
from pgv_jax.types import Candidate, Episode, Step

from ..reading import chat, imported, jsonl


@pytest.mark.parametrize(
    ("value", "expected", "counted"),
    [
        (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05", "dates to text"),
        (datetime.date(2026, 1, 2), "2026-01-02", "dates to text"),
        (decimal.Decimal("1.5"), 1.5, "decimal numbers to floating ones"),
        (b"abc", "abc", "bytes to text"),
        (b"\x89PNG\0", "[5 bytes]", "bytes left out"),
        (float("nan"), None, "NaN or infinity to null"),
        (float("-inf"), None, "NaN or infinity to null"),
        ("half \ud83d here", "half \ufffd here", "half characters to \ufffd"),
        ("whole \ud83d\ude00", "whole \U0001f600", "half characters to \ufffd"),
        (datetime.timedelta(hours=1), "1:00:00", "timedelta to text"),
    ],
)
def test_plain(value: Any, expected: Any, counted: str) -> None:
    tally = Tally()
    assert plain({"a": [value]}, tally) == {"a": [expected]}
    assert tally.converted == {counted: 1}


odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=5), st.datetimes(),
    st.decimals(allow_nan=None), st.text(st.characters(exclude_categories=[]), max_size=5),
)  # fmt: skip


keys = st.integers() | st.datetimes() | st.binary(max_size=3) | st.text(max_size=3)
nested = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
)


@given(nested)
def test_any_value_becomes_json(value: Any) -> None:
    json.dumps(plain(value, Tally()), allow_nan=False, ensure_ascii=False).encode()
    episode = Episode("e", "t", "x\ud800", (Step("o", "h", "a", metadata={"v": value}),), "f")
    whole = settled(episode, Tally())
    assert checked(whole) == whole


def test_metadata_of_any_kind_do_not_refuse_a_file(tmp_path: Path) -> None:
    odd = {
        "at": datetime.datetime(2026, 1, 2),
        "logprob": float("nan"),
        "image": {"bytes": b"\x89PNG\0", "path": None},
        "cost": decimal.Decimal("0.25"),
    }
    rows = [{**chat("T", "x"), "reward": 1.0, **odd}]
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    (episode,), report = imported(path)
    assert episode.success is True
    assert episode.metadata["record"] == {
        "reward": 1.0, "at": "2026-01-02T00:00:00", "logprob": None,
        "image": {"bytes": "[5 bytes]"}, "cost": 0.25,
    }  # fmt: skip
    assert report.tally.converted == {
        "dates to text": 1, "NaN or infinity to null": 1, "bytes left out": 1,
        "decimal numbers to floating ones": 1,
    }  # fmt: skip


def test_half_characters_in_json(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"messages":[{"role":"user","content":"half \\ud83d"},'
                    '{"role":"assistant","content":"\\ud83d\\ude00"}]}\n')  # fmt: skip
    (episode,), report = imported(path)
    assert (episode.steps[0].observation, episode.steps[0].action) == ("half \ufffd", "\U0001f600")
    assert report.tally.converted == {"half characters to \ufffd": 1}


@pytest.mark.parametrize("reward", [float("nan"), "nan", float("inf")])
def test_a_reward_that_is_no_number_has_its_line_and_key(tmp_path: Path, reward: Any) -> None:
    path = jsonl(tmp_path / "x.jsonl", chat("T", "x", reward=1), chat("T", "y", reward=reward))
    with pytest.raises(PgvError, match=r"x.jsonl:2: reward: is not a number"):
        imported(path)
    episodes, report = imported(path, on_error="skip")
    assert (len(episodes), report.rejected) == (1, 1)


def test_what_an_importer_of_ones_own_yields_is_settled_too(tmp_path: Path) -> None:
    class Odd(Importer):
        name, about = "odd", "episodes with odd metadata"

        def detect(self, sample: Any) -> Any:
            raise AssertionError("The importer is named, so nothing is detected.")

        def read(self, path: Path, options: Options) -> Any:
            yield Episode("e", "t", "T", (Step("o", "h", "a", metadata={"p": path}),), "")

    path = jsonl(tmp_path / "x.jsonl", {})
    plan = Plan((path,), tmp_path / "d")
    report = run_import(plan, [Source(path, Odd(), "", label="x")])
    assert report.tally.converted == {f"{type(path).__name__} to text": 1}


def test_numpys_scalars_of_an_importer_of_ones_own_are_pythons_and_others_are_refused_by_type(
    tmp_path: Path,
) -> None:
    given: dict[str, Any] = {}

    class Numpy(Importer):
        name, about = "numpy", "episodes with numpy's values"

        def detect(self, sample: Any) -> Any:
            raise AssertionError("The importer is named, so nothing is detected.")

        def read(self, path: Path, options: Options) -> Any:
            yield Episode(**{**whole, **given})

    number: Any = np.float32
    wrong: Any = np.bool_(False)
    five: Any = 5
    step = Step(
        np.str_("seen"),
        np.str_("why"),
        np.str_("done"),
        number(0.5),
        (Candidate(np.str_("c"), np.str_("d"), {"g": number(0.25)}, wrong),),
    )
    whole: dict[str, Any] = {
        "episode_id": np.int64(7), "task_id": np.str_("k"), "task": np.str_("T"), "steps": (step,),
        "final_observation": np.str_("end"), "success": np.bool_(True), "score": np.float64(1),
        "is_terminal": np.True_, "metadata": {"reward": number(0.5), "turns": np.int8(3)},
    }  # fmt: skip
    path = jsonl(tmp_path / "x.jsonl", {})
    plan = Plan((path,), tmp_path / "d", success="reward >= 0.5 and metadata.turns < 4")
    run_import(plan, [Source(path, Numpy(), "", label="x")])
    (episode,) = read_episodes(tmp_path / "d")
    candidate = Candidate("c", "d", {"g": 0.25}, False)
    assert episode.steps == (Step("seen", "why", "done", 0.5, (candidate,)),)
    assert (episode.episode_id, episode.task, episode.final_observation) == ("7", "T", "end")
    assert episode.success is True and episode.is_terminal is True and episode.score == 1.0
    assert episode.metadata == {"reward": 0.5, "turns": 3}
    for name, value, why in (
        ("score", np.ones(2), "score: must be a finite number, or left out, not ndarray"),
        ("task", b"T", "task: must be text, not bytes"),
        ("steps", (Step("seen", "why", five),), r"steps\[0\].action: must be text, not 5"),
    ):
        given.update({**whole, name: value})
        with pytest.raises(PgvError, match=why):
            run_import(replace(plan, success=None), [Source(path, Numpy(), "", label="x")])
