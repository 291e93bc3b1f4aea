"""The made-up reports, built once a run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.report.demo import make_data, make_health


@pytest.fixture(scope="session")
def health() -> dict[str, Any]:
    return make_health()


@pytest.fixture(scope="session")
def data(health: dict[str, Any]) -> dict[str, Any]:
    return make_data(health)
