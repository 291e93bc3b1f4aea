"""What a run tells while it learns: quantiles, shares, rates, and where they go."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pgv_jax.config import load_config
from pgv_jax.critic.heads import Critic, CriticSpec
from pgv_jax.errors import PgvError
from pgv_jax.learner import speed
from pgv_jax.learner.first_layer import nets, stacked
from pgv_jax.learner.loop import train
from pgv_jax.learner.metrics import Recorder
from pgv_jax.learner.state import graph_of
from pgv_jax.learner.step import EDGES, QUANTILES, predict, quantiles
from pgv_jax.types import Batch
from tests.learner import chain


def test_quantiles_come_back_from_the_shares_below_the_edges():
    values = np.random.default_rng(0).beta(0.5, 3, size=20_000)
    below = (values[:, None] < EDGES).mean(0)
    told = quantiles("q", below)
    for share, got in zip(QUANTILES, told.values(), strict=True):
        width = np.diff(EDGES)[np.searchsorted(EDGES, got) - 1]
        assert abs(got - np.quantile(values, share)) < width
    assert list(told) == ["q_p10", "q_p50", "q_p90"]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> tuple[list[dict], list[dict], Path]:
    workdir = tmp_path_factory.mktemp("run")
    table = chain.table(workdir / "table", chain.walks(16, success=True))
    train(chain.config("train.steps=20"), table, None, workdir, profile=True)
    lines = (
        [json.loads(line) for line in (workdir / name).read_text().splitlines()]
        for name in ("metrics.jsonl", "speed.jsonl")
    )
    return (*lines, workdir)


def test_every_log_point_tells_shares_of_goals_and_where_q_and_v_lie(told):
    metrics, _, _ = told
    for line in metrics:
        shares = [line[f"{kind}_share"] for kind in ("current", "future", "random", "outcome")]
        assert sum(shares) == pytest.approx(1, abs=1e-5) and min(shares) > 0
        for head in ("q", "v"):
            low, middle, high = (line[f"{head}_p{p}"] for p in (10, 50, 90))
            assert 0 <= low <= middle <= high <= 1
            assert low - 0.07 <= line[f"{head}_mean"] <= high + 0.07


def test_every_call_tells_its_rates(told):
    _, rates, _ = told
    assert [line["step"] for line in rates] == [5, 10, 15, 20]
    for line in rates:
        assert line["transitions_per_s"] == pytest.approx(32 * line["updates_per_s"])
        assert line["triples_per_s"] == pytest.approx(line["transitions_per_s"])
        assert 0 < line["gemm_share"] < 1


def test_a_profile_is_a_trace_of_one_call(told):
    (trace,) = (told[2] / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size > 1000


@pytest.mark.parametrize(("goals", "tasks"), [(1, None), (1, 3), (4, None)])
def test_the_counted_arithmetic_is_what_xla_counts(goals, tasks):
    """XLA also counts what is elementwise: of wide embeddings, that is little."""
    spec, batch, shards = CriticSpec(512, (32, 24), 2, False, "relu", "linear"), 64, 2
    graph = graph_of(spec)
    params = jax.eval_shape(lambda: _params(spec))
    x = jax.ShapeDtypeStruct((batch, 512), jnp.float32)
    many = jax.ShapeDtypeStruct((batch * goals,), jnp.float32)
    number = None if tasks is None else jax.ShapeDtypeStruct((batch,), jnp.int32)
    task = x if tasks is None else jax.ShapeDtypeStruct((tasks, 512), jnp.float32)

    # Distinct fields: XLA would compute the projection of one only once.
    gradient = jax.jit(jax.grad(functools.partial(_loss, graph, shards)))
    program = gradient.lower(params, params, task, number, (x, x, x, x), many).compile()
    cost = program.cost_analysis()
    counted = speed.flops_per_update(spec, batch, goals, tasks)
    assert counted == pytest.approx(cost["flops"], rel=0.1)


def _params(spec: CriticSpec):
    return stacked(nnx.to_pure_dict(nnx.state(Critic(spec, jax.random.key(0)))))


def _loss(graph, shards, params, slow, task, number, embedded, fact):
    heads, slow_q = nets(graph, params, "float32"), nets(graph, slow, "float32")["q"]
    batch = Batch(task, number, *embedded, *[fact] * 6)
    said = predict(heads["q"], heads["v"], slow_q, batch, shards)
    next_v, target = jax.lax.stop_gradient((said.next_v_B, said.q_target_EB))
    return (said.q_EB * next_v[None]).sum() + (said.v_B * target.sum(0)).sum()


def test_what_a_killed_run_left_unfinished_is_gone(tmp_path):
    (tmp_path / ".tmp-0-speed.jsonl").write_text("{")
    Recorder(tmp_path, load_config(None, []), after=0, writes=True).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl", "speed.jsonl"]


@pytest.mark.parametrize(
    ("option", "module", "extra"),
    [
        ("train.tensorboard=true", "tensorboardX", "tensorboard"),
        ("train.wandb=mine", "wandb", "wandb"),
    ],
)
def test_a_library_that_is_absent_is_named(tmp_path, monkeypatch, option, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    table = chain.table(tmp_path / "table", chain.walks(8))
    with pytest.raises(PgvError, match=rf"pip install 'pgv-jax\[{extra}\]'"):
        train(chain.config(option), table, None, tmp_path)


def test_tensorboard_gets_the_same_numbers(tmp_path):
    if importlib.util.find_spec("tensorboardX") is None:
        pytest.skip("needs the extra tensorboard")
    from tensorboardX.proto.event_pb2 import Event

    table = chain.table(tmp_path / "table", chain.walks(8))
    train(chain.config("train.steps=10", "train.tensorboard=true"), table, None, tmp_path)
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, told = file.read_bytes(), {}
    while data:
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        told |= {(event.step, v.tag): v.simple_value for v in event.summary.value}
        data = data[12 + size + 4 :]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        assert told[values["step"], "loss"] == pytest.approx(values["loss"])
    assert (10, "updates_per_s") in told


OFFLINE = """
import sys
from pathlib import Path
from pgv_jax.data.table import Table
from pgv_jax.learner.loop import train
from pgv_jax.learner.metrics import Recorder
from tests.learner import chain
folder = Path(sys.argv[1])
tables = [Table.open(folder / split) for split in ("train", "val")]
for steps in (10, 20):
    train(chain.config(f"train.steps={steps}", "train.wandb=mine"), *tables, folder / "run")
"""
REFUSED = """
import sys
from pathlib import Path
from pgv_jax.config import Config
from pgv_jax.errors import PgvError
from pgv_jax.learner.metrics import WandB
try:
    WandB("mine", Path(sys.argv[1]), Config())
except PgvError as error:
    print(error)
"""


@pytest.fixture
def logged_out(tmp_path, monkeypatch) -> None:
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("needs the extra wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("logged_out")
def test_weights_and_biases_without_an_account_is_a_sentence(tmp_path, run_python):
    said = run_python(REFUSED, args=(str(tmp_path / "run"),)).stdout
    assert "project 'mine'" in said and "WANDB_MODE=offline" in said and said.count("\n") == 1


@pytest.mark.usefixtures("logged_out")
def test_weights_and_biases_gets_the_same_numbers(tmp_path, monkeypatch, run_python):
    chain.table(tmp_path / "train", chain.walks(8))
    chain.table(tmp_path / "val", [chain.walk(i, 4, 8, success=i % 2 == 0) for i in range(8)])
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_python(OFFLINE, args=(str(tmp_path),))
    run = tmp_path / "run"
    folders = sorted((run / "wandb").glob("offline-run-*"))
    assert len({folder.name.rsplit("-")[-1] for folder in folders}) == 1 and len(folders) == 2
    told = [row for folder in folders for row in history(next(folder.glob("*.wandb")))]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_score" in line] == [10, 20]
    for line in lines:
        assert any(line.items() <= row.items() for row in told), line
    assert {row["step"] for row in told if "updates_per_s" in row} == {5, 10, 15, 20}


def history(file: Path) -> list[dict]:
    """The rows of an offline run: a log as LevelDB writes it, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record, rows = file.read_bytes(), 7, b"", []
    while at + 7 < len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or its last part
            items = Record.FromString(record).history.item
            rows.append({i.key or i.nested_key[0]: json.loads(i.value_json) for i in items})
            record = b""
    return [row for row in rows if row]
