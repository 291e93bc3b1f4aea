"""Feeds and tables: on the devices or read from files, the same rows make the same run."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np
import pytest

from pgv_jax.learner import feed as feeds
from pgv_jax.learner.loop import train
from pgv_jax.learner.row_files import padded_length

from . import chain

STEPS = "train.steps=20"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return chain.table(tmp_path_factory.mktemp("table") / "t", chain.walks(16))


@pytest.fixture(scope="module")
def resident(table, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("resident")
    train(chain.config(STEPS, "train.feed=resident"), table, None, workdir)
    return curve(workdir)


def curve(workdir) -> np.ndarray:
    told = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return np.asarray([line["loss"] for line in told])


def test_a_streamed_table_trains_the_same_critic(table, resident, tmp_path):
    train(chain.config(STEPS, "train.feed=stream"), table, None, tmp_path)
    np.testing.assert_allclose(curve(tmp_path), resident, rtol=1e-5)


@pytest.mark.usefixtures("fused_as_shipped")
@pytest.mark.slow
def test_how_many_updates_are_drawn_at_once_changes_nothing(table, tmp_path, monkeypatch):
    curves = []
    for drawn in (feeds.DRAWN, 1, 2 * 32):
        monkeypatch.setattr(feeds, "DRAWN", drawn)
        train(chain.config(STEPS, "train.feed=resident"), table, None, tmp_path / str(drawn))
        curves.append(curve(tmp_path / str(drawn)))
    for other in curves[1:]:
        np.testing.assert_array_equal(other, curves[0])


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Gets an entry for each program that is compiled and was not kept."""
    missed: list[str] = []

    def note(event: str, **_: str) -> None:
        if event == "/jax/compilation_cache/cache_misses":
            missed.append(event)

    jax.monitoring.register_event_listener(note)
    yield missed
    jax.monitoring.unregister_event_listener(note)


@pytest.mark.parametrize("feed", ["resident", "stream"])
def test_another_seed_and_more_updates_at_once_need_no_other_programs(
    table, tmp_path, feed, compiled
):
    feed = f"train.feed={feed}"
    train(chain.config(STEPS, feed), table, None, tmp_path / "first")
    compiled.clear()
    seed = secrets.randbelow(2**32)  # one of which no earlier run kept programs
    other = (f"train.seed={seed}", "train.scan=10", "train.steps=40")
    train(chain.config(feed, *other), table, None, tmp_path / "other")
    assert not compiled
    assert (curve(tmp_path / "other")[:4] != curve(tmp_path / "first")).all()


def test_a_part_of_a_table_meets_the_programs_of_the_whole(table, resident, tmp_path, compiled):
    part = chain.table(tmp_path / "t", chain.walks(11), data="part")
    config = chain.config(STEPS, "train.feed=resident")
    train(config, part, None, tmp_path / "alone")
    compiled.clear()
    train(config, part, None, tmp_path / "like", like=table)
    assert not compiled
    np.testing.assert_allclose(curve(tmp_path / "like"), curve(tmp_path / "alone"), rtol=1e-5)
    assert (curve(tmp_path / "like") != resident).any()


def test_a_log_that_has_grown_meets_the_programs_that_were_kept(table, tmp_path, compiled):
    config = chain.config(STEPS, "train.feed=resident")
    train(config, table, None, tmp_path / "before")
    compiled.clear()
    grown = chain.table(tmp_path / "t", chain.walks(18), data="grown")
    train(config, grown, None, tmp_path / "after")
    assert not compiled
    assert (curve(tmp_path / "after") != curve(tmp_path / "before")).any()


def test_lengths_are_powers_of_two_and_from_4096_on_a_quarter_longer_at_most():
    lengths = (0, 1, 3, 4, 5, 100, 1024, 1025, 4096, 4097, 5121, 8192, 8193, 100_000)
    assert [padded_length(n) for n in lengths] == (
        [0, 1, 4, 4, 8, 128, 1024, 2048, 4096, 5120, 6144, 8192, 10_240, 114_688]
    )


@pytest.mark.parametrize(("dtype", "feed"), [("float16", "resident"), ("bfloat16", "stream")])
def test_a_table_in_half_precision_is_nearly_the_same(resident, tmp_path, dtype, feed):
    half = chain.table(tmp_path / "t", chain.walks(16), dtype=dtype)
    train(chain.config(STEPS, f"train.feed={feed}"), half, None, tmp_path)
    np.testing.assert_allclose(curve(tmp_path), resident, rtol=1e-2)
    assert (curve(tmp_path) != resident).any()


def test_the_log_says_which_feed_was_chosen_and_why(table, tmp_path, caplog):
    with caplog.at_level("INFO", "pgv_jax.learner.feed"):
        train(chain.config("train.steps=5"), table, None, tmp_path)
    (said,) = caplog.messages
    assert said.startswith("feed resident:") and "GB" in said


@pytest.mark.parametrize("feed", ["resident", "stream"])
def test_few_tasks_are_projected_once_and_many_row_by_row_alike(tmp_path, monkeypatch, feed):
    walks = [replace(walk, task=f"Walk to {i % 5}.") for i, walk in enumerate(chain.walks(16))]
    told = {}
    for share in (0, 1000):
        monkeypatch.setattr(feeds, "FEW", share)
        workdir = tmp_path / str(share)
        table = chain.table(workdir / "t", walks)
        assert len(table.tasks) == 5
        train(chain.config(STEPS, f"train.feed={feed}"), table, None, workdir)
        told[share] = curve(workdir)
    np.testing.assert_allclose(told[0], told[1000], rtol=1e-5)
