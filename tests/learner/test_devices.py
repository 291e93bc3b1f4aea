"""The batch stream knows seed, step and logical shard, and not the devices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pgv_jax.data.table import Table
from pgv_jax.errors import PgvError
from pgv_jax.learner.loop import train

from . import chain

STEPS = 100
OPTIONS = (
    f"train.steps={STEPS}",
    "train.log_every=1",
    "train.scan=20",
    "train.eval_every=20",
)
EIGHT = f"""
import sys
from pathlib import Path
import jax
from pgv_jax.data.table import Table
from pgv_jax.errors import PgvError
from pgv_jax.learner.loop import train
from tests.learner import chain
folder, options = Path(sys.argv[1]), {OPTIONS!r}
assert jax.device_count() == 8
table = Table.open(folder / "table")
train(chain.config(*options, *sys.argv[2:]), table, None, folder / "eight")
try:
    train(chain.config("mesh.data=3"), table, None, folder / "three")
except PgvError as error:
    print(error)
"""
MESH = ("mesh.data=4", "mesh.model=2")


def losses(folder: Path) -> np.ndarray:
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in told] == list(range(1, STEPS + 1))
    return np.asarray([[line[name] for name in ("loss", "q_loss", "td_error")] for line in told])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    chain.table(folder / "table", chain.walks(16))
    return folder


@pytest.fixture(scope="module")
def said(folder, run_python) -> str:
    """Train on eight forced host devices along both axes; what a mesh that does not fit says."""
    return run_python(EIGHT, devices=8, args=(str(folder), *MESH)).stdout


@pytest.mark.slow
def test_one_device_and_eight_draw_the_same_learning_curve(folder, said):
    train(chain.config(*OPTIONS), Table.open(folder / "table"), None, folder / "one")
    one = losses(folder / "one")
    assert one[-1, 0] < one[0, 0]
    np.testing.assert_allclose(losses(folder / "eight"), one, rtol=1e-4)


@pytest.mark.slow
def test_shards_that_do_not_divide_over_the_devices_name_what_would(said):
    assert said.count("\n") == 1
    assert "8 logical shards" in said and "3 devices" in said
    assert "1, 2, 4, 8" in said and "mesh.shards=9" in said


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("mesh.data=2",), ["data=2", "needs 2 devices", "1 are present"]),
        (("mesh.model=2",), ["mesh.model is 2", "1 devices"]),
        (("train.batch=36",), ["36", "8 logical shards", "32 or 40"]),
        (("train.batch=4",), ["4", "8 logical shards", "use 8"]),
        (("train.goals=5",), ["train.goals = 5", "train.goals=4", "train.batch=40"]),
        (("train.eval_every=12",), ["train.eval_every = 12", "train.log_every = 5", "10"]),
    ],
)
def test_what_cannot_be_is_a_sentence_that_says_what_can(folder, tmp_path, overrides, words):
    with pytest.raises(PgvError) as error:
        train(chain.config(*overrides), Table.open(folder / "table"), None, tmp_path)
    said = str(error.value)
    assert all(word in said for word in words), said
    assert "\n" not in said
    assert not (tmp_path / "metrics.jsonl").exists()
