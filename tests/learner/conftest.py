"""Learners share the programs that they compile."""

import tests.compiled  # noqa: F401
