"""Values that JSON has no type for are converted and counted; a reward of NaN is an error."""

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.importers.base import Importer, Options
from pgv_jax.data.importers.files.values import plain, settled
from pgv_jax.data.importers.pipeline import Plan, run_import
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.jsonl import checked
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode, Step

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
            raise NotImplementedError

        def read(self, path: Path, options: Options) -> Any:
            yield Episode("e", "t", "T", (Step("o", "h", "a", metadata={"p": path}),), "")

    from pgv_jax.data.importers.source import Source

    path = jsonl(tmp_path / "x.jsonl", {})
    plan = Plan((path,), tmp_path / "d")
    report = run_import(plan, [Source(path, Odd(), "", label="x")])
    assert report.tally.converted == {f"{type(path).__name__} to text": 1}
