"""One record a thing that reports compare: its name, its words and its colour stand once."""

from __future__ import annotations

from pgv_jax.report import columns
from pgv_jax.report.columns import COLUMNS
from pgv_jax.report.comparison.arms import REFERENCES
from pgv_jax.report.pages import html
from pgv_jax.report.pages.plots import OTHER, color


def test_no_two_columns_share_a_name_a_label_or_their_words():
    for field in ("name", "label", "words"):
        told = [getattr(column, field) for column in COLUMNS]
        assert len(told) == len(set(told)) and all(told), field


def test_a_row_is_what_tables_charts_and_comparisons_read():
    only = next(column for column in COLUMNS if column.name == "success_only")
    page = html._environment().from_string("{{ n | label }}: {{ n | explanation }}")
    assert page.render(n="success_only") == f"{only.label}: {only.words}"
    assert only.label == "Success-only critic" and "trained on success alone" in only.words
    assert color("success_only") == only.colour
    assert columns.named("success_only") == "success-only critic"
    assert REFERENCES == ("first", "direct", "success_only", "monte_carlo", "shuffled")
    assert columns.score_explanation("success_only") == only.words
    assert columns.score_explanation("first") == "the proposer's own order"


def test_one_without_a_row_is_shown_under_its_own_name():
    assert columns.label("my_new_arm") == "My new arm"
    assert columns.explanation("my_new_arm") == "" == columns.score_explanation("my_new_arm")
    assert color("my_new_arm", 1) == OTHER[1]
