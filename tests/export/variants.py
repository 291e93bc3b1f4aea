"""The shapes of heads that every form of export is tested on."""

from __future__ import annotations

import pytest

every_variant = pytest.mark.parametrize(
    "variant",
    [
        {},
        {"layer_norm": False},
        {"head": "linear"},
        {"activation": "relu"},
        {"activation": "silu", "layer_norm": False, "head": "linear"},
        {"activation": "tanh"},
        {"ensemble": 1, "hidden": [9]},
        {"ensemble": 5, "hidden": [16, 3, 8]},
        {"dim": 384, "hidden": [512, 512, 512]},
        {"outcome_members": 5, "outcome_hidden": []},
        {"outcome_members": 3, "outcome_hidden": [6, 4]},
        {"outcome_members": 4, "outcome_hidden": [5], "layer_norm": False, "ensemble": 1},
    ],
    ids=lambda variant: "-".join(map(str, variant.values())) or "default",
)
