from __future__ import annotations

import re

import pytest

from pgv_jax.report.pages import plots
from tests.report.page_checks import check_svg


def charts():
    bins = [
        {"score": 0.2, "outcome": 0.1, "count": 9, "ci95": [0.0, 0.3]},
        {"score": 0.8, "outcome": 0.7, "count": 3, "ci95": [None, None]},
    ]
    points = [{"step": t, "auc": 0.6, "ci95": [0.5, 0.7]} for t in (0, 2, 10)]
    rows = [{"step": s, "loss": 1 / (s + 1), "val_success": 0.6} for s in range(0, 100, 10)]
    return {
        "learning": plots.learning_curve(rows, 40),
        "reliability": plots.reliability({"critic": bins, "monte_carlo": bins}, "share"),
        "forest": plots.forest([("first", 0.0, (0.0, 0.1)), ("critic", 0.9, (None, None))], "won"),
        "goals": plots.goal_bars(["open", "cut"], {"critic": [(0.5, (0.4, 0.6)), (0.0, (0, 0))]}),
        "auc": plots.auc_by_step({"critic": points, "constant": points, "a_new_one": points}),
    }


@pytest.mark.parametrize("name", charts())
def test_a_chart_is_sound_svg_in_the_colours_of_the_page(name):
    check_svg(charts()[name])


def test_charts_share_no_id_and_are_the_same_again():
    once, again = charts(), charts()
    assert once == again
    ids = [i for svg in once.values() for i in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    for svg in once.values():
        own = set(re.findall(r'\bid="([^"]+)"', svg))
        used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert used <= own


def test_nothing_to_draw_draws_nothing():
    assert plots.learning_curve([]) is None
    assert plots.learning_curve([{"step": 1, "lr": 0.1}]) is None
    assert plots.reliability({"critic": []}, "share") is None
    assert plots.forest([], "won") is None
    assert plots.goal_bars([], {}) is None
    assert plots.auc_by_step({}) is None


def test_the_learning_curve_takes_the_keys_that_are_there():
    svg = plots.learning_curve(
        [{"step": 0, "loss": None, "val_new": 1.0}, {"step": 9, "val_new": 2}]
    )
    assert svg is not None
    assert "training loss" not in svg
    assert "new" in svg


def test_names_from_data_cannot_break_out():
    svg = plots.goal_bars(["<script>x</script>"], {"<b>": [(0.5, (0.4, 0.6))]})
    assert svg is not None
    check_svg(svg)
    assert "<script>" not in svg
