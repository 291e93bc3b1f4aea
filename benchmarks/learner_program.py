"""What XLA makes of one update: products, fusions by what they hold, arithmetic and traffic.

    python benchmarks/learner_program.py [--batch 1024] [--hidden 512,512,512] [--compute float32]

The program is compiled for the device at hand and not run; the direct critic with 50 tasks, as in
``learner.py``. With norms (once a line of metrics) and without (every other update). Prints one
JSON line each. Counts are of this backend's program: another one fuses otherwise.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import click
import jax
import jax.numpy as jnp
from entry import begin
from learner import Case, config_of

from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.speed import flops_per_update
from pgv_jax.learner.standardize import Constants, Standard
from pgv_jax.learner.state import State, abstract_state, critic_spec, make_optimizer
from pgv_jax.learner.step import make_update, norms_of
from pgv_jax.types import FIELDS, Batch

SHARDS = 8
HOLDS = (
    ("dot", "a product"),
    ("sqrt", "Adam's step, of one array"),
    ("tanh", "GELU"),
    ("transpose", "a copy in another layout"),
    ("reduce", "a sum"),
)
"""The first operation that a fusion holds says what it is; the rest are "other"."""


def batch_of(case: Case) -> Batch:
    """The shapes of a batch."""

    def array(*shape: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    rows, triples, dim = case.batch, case.batch * case.goals, case.dim
    return Batch(
        task_ND=array(case.tasks, dim),
        task_B=array(rows, dtype=jnp.int32),
        obs_BD=array(rows, dim),
        thought_BD=array(rows, dim),
        next_obs_BD=array(rows, dim),
        goal_BD=array(rows, dim),
        reached_B=array(triples, dtype=jnp.bool),
        next_reached_B=array(triples, dtype=jnp.bool),
        discount_B=array(triples),
        monte_carlo_B=array(triples),
        kind_B=array(triples, dtype=jnp.int32),
        weight_B=array(triples),
    )


def counted(text: str) -> dict[str, Any]:
    """Operations of the entry of a compiled program, and its fusions by what they hold."""
    bodies = dict(re.findall(r"\n(%?[\w.-]+) \([^\n]*\{\n(.*?)\n\}", text, re.DOTALL))
    entry = text[text.index("\nENTRY") :]
    operations = Counter(re.findall(r"= \S+ ([a-z-]+)\(", entry))
    fusions: Counter[str] = Counter()
    for called in re.findall(r" fusion\(.*?calls=(%?[\w.-]+)", entry):
        inside = set(re.findall(r"= \S+ ([a-z-]+)\(", bodies[called]))
        fusions[next((name for held, name in HOLDS if held in inside), "other")] += 1
    plain = ("dot", "copy", "transpose", "custom-call")
    return {
        "fusions": fusions.total(),
        "of": dict(fusions.most_common()),
        "outside": {name: operations[name] for name in plain if operations[name]},
    }


def program(case: Case, norms: bool) -> dict[str, Any]:
    """Compile one update, and count."""
    config = config_of(case)
    spec = critic_spec(config.critic, config.objective, case.dim)
    optimizer = make_optimizer(config.train)
    state = abstract_state(spec, optimizer, meshes.make_mesh(0, 1, SHARDS))
    update = make_update(spec, config.objective, config.train, optimizer, SHARDS)
    standard = Standard(
        jax.ShapeDtypeStruct((case.dim,), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
    )
    constants = Constants(dict.fromkeys(FIELDS, standard), None)

    def call(before: State, *more: Any) -> Any:
        state, metrics, gradients = update(before, *more)
        told = norms_of(gradients, state.params, before.params) if norms else {}
        return state, metrics | told

    lowered = jax.jit(call, donate_argnums=0).lower(state, batch_of(case), constants)
    compiled = lowered.compile()
    cost = compiled.cost_analysis() or {}
    return {
        "case": case.name,
        "norms": norms,
        "products": lowered.as_text().count("stablehlo.dot_general"),
        **counted(compiled.as_text() or ""),
        "gflop": round(cost.get("flops", 0) / 1e9, 2),
        "gflop_of_products": flops_per_update(spec, case.batch, case.goals, case.tasks) / 1e9,
        "gb_accessed": round(cost.get("bytes accessed", 0) / 1e9, 3),
    }


@click.command()
@click.option("--dim", default=384, show_default=True)
@click.option("--hidden", default="512,512,512", show_default=True)
@click.option("--batch", default=1024, show_default=True)
@click.option("--compute", "kinds", multiple=True, default=("float32", "bfloat16"))
def main(dim: int, hidden: str, batch: int, kinds: tuple[str, ...]) -> None:
    """Count each precision's program."""
    widths = tuple(int(width) for width in hidden.split(","))
    print(json.dumps({"device": jax.devices()[0].device_kind, "jax": jax.__version__}))
    for compute in kinds:
        for norms in (True, False):
            print(json.dumps(program(Case(dim, widths, batch, compute=compute), norms)))


if __name__ == "__main__":
    begin(main)
