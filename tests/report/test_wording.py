from __future__ import annotations

import pytest

from pgv_jax.report import wording


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (wording.number(0.745), "0.74"),
        (wording.number(0.1, sign=True), "+0.10"),
        (wording.number(-0.1), "\u22120.10"),
        (wording.number(-0.001, sign=True), "0.00"),
        (wording.number(None), "\u2013"),
        (wording.percent(0.876), "88 %"),
        (wording.percent_interval([0.8, 0.944]), "[80, 94]"),
        (wording.percent_interval([-0.05, 0.1], sign=True), "[\u22125, +10]"),
        (wording.interval([0.1, None]), "[no interval]"),
        (wording.seconds(0.42), "0.4 s"),
        (wording.seconds(9.96), "10 s"),
        (wording.seconds(185.2), "3 min 05 s"),
        (wording.seconds(119.7), "2 min 00 s"),
        (wording.p_value(0.0004), "p < 0.001"),
        (wording.p_value(0.031), "p = 0.031"),
        (wording.p_value(1.0), "p = 1.00"),
        (wording.setting(True), "yes"),
        (wording.setting(1), "1"),
    ],
)
def test_numbers_and_names_read_well(found, text):
    assert found == text


def test_figures_do_not_break_over_lines():
    kept = wording.unbroken("74 % [70, +78] of 3, p < 0.001 at 5 points")
    assert kept.replace("\u00a0", "_") == "74_% [70,_+78] of 3, p_<_0.001 at 5 points"
