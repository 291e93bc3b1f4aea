"""``benchmarks/learner.py --accelerator --short``, prepared for a lent GPU, runs whole on a CPU."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def short(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("learner_short")


def test_spans_of_kernels_that_overlap_are_busy_once(short):
    # [0, 2000] and [1000, 3000] on two streams, nothing for 1 us, then [4000, 5000].
    told = short.summary([(0, 2000), (1000, 3000), (4000, 5000)], 2)
    assert told == {
        "kernels_per_update": 1.5,
        "busy_us_per_update": 2.0,
        "gaps_us_per_update": 0.5,
    }


def test_the_products_are_those_of_the_update_but_for_tasks_and_last_layers(short):
    from pgv_jax.critic.heads import CriticSpec
    from pgv_jax.learner.speed import flops_per_update

    spec = CriticSpec(6, (8, 10), 2, False, "gelu", "sigmoid")
    batch, goals = 16, 3
    counted = sum(one.flops * one.times for one in short.products_of(spec, batch, goals))
    # One task, which is projected (Q 3 times by two members, V twice) and picked; layers to 1.
    task = 2 * (3 * 2 + 2) * (6 * 8 + batch * 8)
    last = 2 * batch * goals * 10 * (2 * 4 + 4)
    assert counted + task + last == flops_per_update(spec, batch, goals, 1)


@pytest.mark.slow
def test_the_whole_of_it_runs_on_tiny_sizes(short, tmp_path):
    main = importlib.import_module("learner").main
    out = tmp_path / "short.json"
    words = ["--accelerator", "--short", "--tiny", "--out", str(out)]
    done = CliRunner().invoke(main, [*words, "--limit", "1e9"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text("utf-8"))
    names = [told["case"] for told in found["cases"]]
    assert names == [
        "D16 8x2 B16 bfloat16",
        "D16 8x2 B16 bfloat16 imagined 4",
        "D16 8x2 B16 G2 bfloat16",
    ]
    assert found["left_out"] == []
    first = found["cases"][0]
    assert first["transitions_per_s"] == pytest.approx(16 * first["updates_per_s"], rel=0.1)
    assert set(first["host"]) == {"updates_per_s", "ours_over_it", "range"}
    assert all(row["us"] > 0 for row in first["products"]["each"])
    wanted = [case.name for case in short.cases_of(short.Sizes())]
    assert len(wanted) == 10 and wanted[0] == "D384 512x3 B1024 bfloat16"
    for name in names:
        assert f"\n| {name} | " in done.output
    assert f"On {found['device']}:" in done.output
    none = CliRunner().invoke(main, [*words, "--limit", "-1"], catch_exceptions=False)
    assert f"No time was left for: {', '.join(names)}." in none.output
