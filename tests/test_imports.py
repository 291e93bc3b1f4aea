"""Where modules are and what an import loads: light ones stay light, training needs arrays only."""

from __future__ import annotations

import pkgutil
from collections import Counter
from pathlib import Path

import pytest

import pgv_jax
import pgv_jax.learner

HEAVY = {
    "jax",
    "transformers",
    "tensorflow_datasets",
    "torch",
    "sklearn",
    "matplotlib",
    "textworld",
}

MOST_MODULES = 16
"""Of one folder, ``__init__`` not counted."""
TWICE = {
    "base": ("",),  # a folder's protocol
    # A vendor's logs, and its API.
    **dict.fromkeys(("anthropic", "openai"), ("data/importers/formats/chats", "llm/providers")),
    # The same kind of file in each task.
    **dict.fromkeys(("env", "games", "planner", "words", "world"), ("tasks",)),
    # A command, and what it runs or the page that it writes.
    **dict.fromkeys(("collect", "summarize"), ("cli/commands", "rollout")),
    **dict.fromkeys(("evaluate", "iterate"), ("cli/commands", "workflows")),
    "fit": ("cli/commands", "report/pages"),
    "quickstart": ("cli/commands", "report/pages", "workflows"),
}
"""Names that more than one file may have, and the folders in which."""


def places() -> list[Path]:
    """Every module as a path inside the package."""
    root = Path(pgv_jax.__file__).parent
    return [p.relative_to(root) for p in root.rglob("*.py") if p.name != "__init__.py"]


def test_a_folder_holds_few_modules():
    sizes = Counter(place.parent for place in places())
    assert len(sizes) > 30
    assert {str(k): n for k, n in sizes.items() if n > MOST_MODULES} == {}


def test_a_name_stands_once():
    count = Counter(place.stem for place in places())
    again = [place for place in places() if count[place.stem] > 1]
    assert {place.stem for place in again} == set(TWICE)  # one that is no longer needed goes
    assert [p for p in again if not any(p.is_relative_to(f) for f in TWICE[p.stem])] == []


def loaded(run_python, statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(run_python(code).stdout.split())


@pytest.mark.parametrize(
    "module",
    ["pgv_jax", "pgv_jax.types", "pgv_jax.errors", "pgv_jax.cli.main", "pgv_jax.llm.client"],
)
def test_light_modules_load_nothing_heavy(run_python, module):
    assert not HEAVY & loaded(run_python, f"import {module}")


def test_the_check_above_can_fail(run_python):
    assert "jax" in HEAVY & loaded(run_python, "import pgv_jax.critic.heads")


def test_training_needs_arrays_only(run_python):
    modules = [m.name for m in pkgutil.iter_modules(pgv_jax.learner.__path__, "pgv_jax.learner.")]
    assert modules
    foreign = {"tensorflow_datasets", "grain", "transformers", "torch", "textworld", "openai"}
    assert not foreign & loaded(run_python, f"import {', '.join(modules)}")


def test_the_torch_critic_loads_without_jax(run_python):
    pytest.importorskip("torch", reason="PyTorch is not installed: parity is not tested")
    statement = "sys.modules['jax'] = None; import pgv_jax.export.torch as m; m.PgvCritic"
    assert not {"flax", "jaxlib"} & loaded(run_python, statement)


@pytest.mark.parametrize("name", [n for n in pgv_jax.__all__ if n != "__version__"])
def test_every_public_name_is_there(name):
    assert getattr(pgv_jax, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = pgv_jax.nothing
