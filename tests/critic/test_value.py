"""The value function: a grid is its pairs, padding is invisible, what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic.heads import Critic, link
from pgv_jax.critic.value import PAIRS, ValueFunction
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.texts.templates import FAILURE, SUCCESS
from tests.critic.toy import ENCODER, SPEC, D, manifest, params

TASK, SEEN = "Find the key.", "You are in the hall. The door is closed."
THOUGHTS = [f"I try door {i}." for i in range(5)]
GOALS = [f"You are in room {i}." for i in range(3)]


@pytest.fixture(scope="module")
def folder(toy_critic: Path) -> Path:
    return toy_critic


@pytest.fixture(scope="module")
def value(folder) -> ValueFunction:
    return ValueFunction.load(folder)


@pytest.fixture
def damaged(folder, tmp_path) -> Callable[..., Path]:
    """A copy of the artifact after ``change(flat parameters, manifest)``."""

    def make(change: Callable[[dict, dict], None]) -> Path:
        copy = tmp_path / "artifact"
        shutil.copytree(folder, copy)
        flat = load_file(copy / "params.safetensors")
        facts = json.loads((copy / "manifest.json").read_text())
        change(flat, facts)
        save_file(flat, copy / "params.safetensors")
        del facts["checksums"]  # these speak of damage that the checksums would name first
        (copy / "manifest.json").write_text(json.dumps({**facts, "version": artifacts.UNCHECKED}))
        return copy

    return make


@pytest.mark.parametrize(
    ("recipe", "success"), [({"gamma": 1.0}, 1.0), ({"gamma": 0.95}, 0.95), (None, 0.95)]
)
def test_a_value_shrinks_by_what_answers_its_goal(damaged, recipe, success) -> None:
    """A probe's values of the outcomes are chances; a state goal's shrink by gamma a step."""

    def change(_, facts):
        facts["objective"]["gamma"] = 0.95
        facts |= {} if recipe is None else {"recipe": recipe}

    value = ValueFunction.load(damaged(change))
    assert (value.discount(SUCCESS), value.discount(FAILURE)) == (success, success)
    assert value.discount("You are in room 1.") == 0.95


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(PgvError) as error:
        ValueFunction.load(*args, **options)
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


# What it says


def test_a_grid_is_its_pairs(value):
    grid = value.q(TASK, SEEN, THOUGHTS, GOALS)
    assert grid.shape == (5, 3) and grid.dtype == np.float32
    thoughts = [thought for thought in THOUGHTS for _ in GOALS]
    pairs = value.q_pairs([TASK] * 15, [SEEN] * 15, thoughts, GOALS * 5)
    assert pairs.shape == (15,) and pairs.dtype == np.float32
    np.testing.assert_allclose(grid.reshape(-1), pairs, atol=1e-6)
    states = value.v(TASK, SEEN, GOALS)
    assert states.shape == (3,) and states.dtype == np.float32
    np.testing.assert_allclose(states, value.v_pairs([TASK] * 3, [SEEN] * 3, GOALS), atol=1e-6)


def test_values_are_the_critics_mean_over_the_ensemble(value):
    critic = nnx.merge(nnx.graphdef(value_graph()), nnx.State(params()))
    texts = {"task": [TASK], "observation": [SEEN], "thought": THOUGHTS[:1], "goal": GOALS[:1]}
    inputs = {name: ENCODER.encode(said) for name, said in texts.items()}
    q, v = jax.jit(lambda x: (critic.q(x), critic.v(x)))(inputs)
    assert value.q(TASK, SEEN, THOUGHTS[:1], GOALS[:1])[0, 0] == pytest.approx(
        float(link(q, "sigmoid").mean()), abs=1e-6
    )
    assert value.v(TASK, SEEN, GOALS[:1])[0] == pytest.approx(float(link(v, "sigmoid")[0, 0]))
    assert abs(link(q, "sigmoid")[0, 0] - link(q, "sigmoid")[1, 0]) > 1e-3


def value_graph() -> Critic:
    return nnx.eval_shape(lambda: Critic(SPEC, jax.random.key(0)))


def test_bounded_values_lie_between_zero_and_one(value):
    grid = value.q(TASK, SEEN, THOUGHTS, GOALS)
    assert (grid > 0).all() and (grid < 1).all() and grid.std() > 0.01


def test_linear_heads_may_leave_that_range(damaged):
    def linear(flat, facts):
        facts["critic"]["head"] = "linear"
        flat["q/out/bias"] = flat["q/out/bias"] + 10

    got = ValueFunction.load(damaged(linear)).q(TASK, SEEN, THOUGHTS, GOALS)
    assert (got > 1).all()


@pytest.mark.parametrize(("thoughts", "goals"), [(1, 1), (2, 3), (3, 1), (4, 2), (5, 3)])
def test_padding_changes_nothing(value, thoughts, goals):
    full = value.q(TASK, SEEN, THOUGHTS, GOALS)
    part = value.q(TASK, SEEN, THOUGHTS[:thoughts], GOALS[:goals])
    assert part.shape == (thoughts, goals)
    np.testing.assert_allclose(part, full[:thoughts, :goals], atol=1e-6)
    np.testing.assert_allclose(
        value.v(TASK, SEEN, GOALS[:goals]), value.v(TASK, SEEN, GOALS)[:goals], atol=1e-6
    )


def test_more_pairs_than_fit_in_a_call(value):
    count = PAIRS + 3
    thoughts = [THOUGHTS[i % 5] for i in range(count)]
    goals = [GOALS[i % 3] for i in range(count)]
    got = value.q_pairs([TASK] * count, [SEEN] * count, thoughts, goals)
    grid = value.q(TASK, SEEN, THOUGHTS, GOALS)
    wanted = [grid[i % 5, i % 3] for i in range(count)]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_nothing_asked_is_nothing_said(value):
    assert value.q(TASK, SEEN, [], GOALS).shape == (0, 3)
    assert value.q(TASK, SEEN, THOUGHTS, []).shape == (5, 0)
    assert value.v(TASK, SEEN, []).shape == (0,)
    assert value.q_pairs([], [], [], []).shape == value.v_pairs([], [], []).shape == (0,)


def test_any_text_may_be_asked(value):
    got = value.q("", "", ["", "\ud800", "é" * 5000], ["", "\n"])
    assert got.shape == (3, 2) and np.isfinite(got).all()


def test_aligned_lists_of_other_lengths_are_refused(value):
    with pytest.raises(PgvError, match=r"length.*'thought': 2"):
        value.q_pairs([TASK], [SEEN], THOUGHTS[:2], GOALS[:1])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("thoughts", lambda value: value.q(TASK, SEEN, "one thought", GOALS)),
        ("goals", lambda value: value.q(TASK, SEEN, THOUGHTS, "one goal")),
        ("goals", lambda value: value.v(TASK, SEEN, "one goal")),
        ("thoughts", lambda value: value.q_pairs([TASK] * 3, [SEEN] * 3, "one", [GOALS[0]] * 3)),
        ("task", lambda value: value.v_pairs("one", [SEEN] * 3, [GOALS[0]] * 3)),
        ("goal", lambda value: value.q_members([TASK], [SEEN], THOUGHTS[:1], "g")),
        ("texts", lambda value: value.vectors("one text")),
        ("goals", lambda value: value.likelihoods(np.zeros((1, 3)), "one")),
    ],
)
def test_a_text_in_place_of_a_list_is_refused(value, name, call):
    with pytest.raises(PgvError, match=f"{name} is one text, '.*', where a list of texts belongs"):
        call(value)


# What it embeds


class Counting(HashEncoder):
    """Counts what it is asked to embed."""

    def __init__(self) -> None:
        super().__init__(D)
        self.asked: list[str] = []

    def encode(self, texts, progress=None):
        self.asked += texts
        return super().encode(texts, progress)


def test_a_text_is_embedded_once(folder):
    encoder = Counting()
    value = ValueFunction.load(folder, encoder=encoder)
    for _ in range(2):
        value.q(TASK, SEEN, THOUGHTS, GOALS)
        value.v(TASK, SEEN, GOALS)
    assert sorted(encoder.asked) == sorted({TASK, SEEN, *THOUGHTS, *GOALS})


def test_a_store_is_read_before_the_encoder_is_asked(folder, value, tmp_path):
    EmbeddingStore(tmp_path, ENCODER).add([TASK, SEEN, *THOUGHTS])
    encoder = Counting()
    stored = ValueFunction.load(folder, store=tmp_path, encoder=encoder)
    np.testing.assert_array_equal(
        stored.q(TASK, SEEN, THOUGHTS, GOALS), value.q(TASK, SEEN, THOUGHTS, GOALS)
    )
    assert sorted(encoder.asked) == sorted(GOALS)


# What it refuses


def test_another_encoder_is_refused_and_both_are_named(folder):
    said = refusal(folder, encoder=HashEncoder(16))
    assert "'hash:8'" in said and "'hash:16'" in said


def test_a_store_of_another_encoder_is_refused(folder, tmp_path):
    EmbeddingStore(tmp_path, HashEncoder(16)).add(["a"])
    said = refusal(folder, store=tmp_path)
    assert "hash:8" in said and "hash:16" in said


@pytest.mark.parametrize("trained", ["q", "v"])
def test_an_untrained_head_is_refused(damaged, trained):
    value = ValueFunction.load(damaged(lambda flat, facts: facts.update(heads=[trained])))
    asks = {
        "q": [
            lambda: value.q(TASK, SEEN, THOUGHTS, GOALS),
            lambda: value.q(TASK, SEEN, [], []),
            lambda: value.q_pairs([TASK], [SEEN], THOUGHTS[:1], GOALS[:1]),
        ],
        "v": [lambda: value.v(TASK, SEEN, GOALS), lambda: value.v_pairs([TASK], [SEEN], GOALS[:1])],
    }
    for ask in asks.pop(trained):
        ask()
    (untrained,) = asks
    for ask in asks[untrained]:
        with pytest.raises(PgvError, match=f"'{untrained}' was not trained.*gc_iql"):
            ask()


def drop(flat, facts):
    del flat["q/goal/kernel"]


def add(flat, facts):
    flat["q/reward/kernel"] = np.zeros(3, np.float32)


def reshape(flat, facts):
    flat["q/goal/kernel"] = flat["q/goal/kernel"][:, :-1].copy()


def widen(flat, facts):
    facts["critic"]["hidden"] = [6, 7]


def other_dim(flat, facts):
    facts["critic"]["dim"] = 9


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop, "q/goal/kernel"),
        (add, "q/reward/kernel"),
        (reshape, "q/goal/kernel"),
        (widen, "dense_1"),
        (other_dim, "kernel"),
    ],
)
def test_parameters_that_do_not_fit_the_manifest_are_named(damaged, change, named):
    copy = damaged(change)
    said = refusal(copy)
    assert named in said and str(copy) in said and "damaged" in said


def unknown_activation(flat, facts):
    facts["critic"]["activation"] = "swish"


def no_width(flat, facts):
    del facts["critic"]["dim"]


def one_more(flat, facts):
    facts["critic"]["dropout"] = 0.1


def unknown_head(flat, facts):
    facts["critic"]["head"] = "softmax"


def no_history(flat, facts):
    facts["texts"] = {}


def no_fingerprint(flat, facts):
    del facts["encoder"]["fingerprint"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (unknown_activation, "'swish'"),
        (unknown_head, "'softmax'"),
        (one_more, "dropout"),
        (no_width, "critic.dim"),
        (no_history, "texts.history"),
        (no_fingerprint, "encoder.fingerprint"),
    ],
)
def test_a_manifest_that_makes_no_critic_is_refused(damaged, change, named):
    copy = damaged(change)
    said = refusal(copy)
    assert str(copy) in said and named in said


# What a decision costs


def test_a_warm_value_function_compiles_nothing_in_a_decision(folder):
    fresh = ValueFunction.load(folder)
    assert fresh.compilations == 0
    fresh.warm_up(thoughts=5, goals=3)
    warm = fresh.compilations
    for thoughts in range(1, 6):
        for goals in range(1, 4):
            fresh.q(f"Task {goals}.", SEEN, THOUGHTS[:thoughts], GOALS[:goals])
    assert fresh.compilations == warm
    fresh.q(TASK, SEEN, [f"I try door {i}." for i in range(9)], GOALS)
    assert fresh.compilations == warm + 1


def test_what_is_kept_of_a_task_and_goals_is_theirs_alone(folder, value):
    fresh = ValueFunction.load(folder)
    for task in (TASK, "Find the lamp.", TASK):
        for goals in (GOALS, GOALS[::-1], GOALS[:2]):
            got = fresh.q(task, SEEN, THOUGHTS, goals)
            tasks, seen = [task] * len(goals), [SEEN] * len(goals)
            for thought, row in zip(THOUGHTS, got, strict=True):
                wanted = value.q_pairs(tasks, seen, [thought] * len(goals), goals)
                np.testing.assert_allclose(row, wanted, atol=1e-6)


def test_an_encoder_that_compiles_is_warmed_with_the_heads(folder):
    class Compiling(HashEncoder):
        compilations = 0

        def warm_up(self, texts: int) -> None:
            self.compilations += texts

    fresh = ValueFunction.load(folder, encoder=Compiling(D))
    fresh.warm_up(thoughts=1, goals=1)
    assert fresh.compilations == 4 + 2  # texts of one call; a context and a grid


@pytest.mark.parametrize("pessimism", [-0.1, float("nan"), float("inf")])
def test_pessimism_that_is_no_number_of_deviations_is_a_sentence(folder, pessimism):
    with pytest.raises(PgvError, match="use a number from 0"):
        ValueFunction.load(folder, pessimism=pessimism)


def test_pessimism_takes_the_ensembles_disagreement_off(folder, value):
    careful = ValueFunction.load(folder, pessimism=0.5)
    single = []
    for member in range(2):
        part = jax.tree.map(lambda x, m=member: x[m : m + 1], params()["q"])
        alone = {"q": part, "v": params()["v"]}
        changed = manifest(critic={**SPEC.to_json(), "ensemble": 1})
        opened = artifacts.Artifact(folder, {**changed, "format": ""}, alone)
        single.append(ValueFunction(opened, ENCODER).q(TASK, SEEN, THOUGHTS, GOALS))
    members = np.stack(single)
    wanted = members.mean(0) - 0.5 * members.std(0)
    np.testing.assert_allclose(careful.q(TASK, SEEN, THOUGHTS, GOALS), wanted, atol=1e-6)
    np.testing.assert_array_equal(careful.v(TASK, SEEN, GOALS), value.v(TASK, SEEN, GOALS))
    np.testing.assert_allclose(
        careful.q_pairs([TASK], [SEEN], THOUGHTS[:1], GOALS[:1]), wanted[0, :1], atol=1e-6
    )
