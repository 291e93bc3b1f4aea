"""Imagined Q: what is read, what padding may not change, and the formula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic import next_note
from pgv_jax.critic.heads import Critic, CriticSpec, link
from pgv_jax.critic.imagined import (
    ABSENT,
    FAILS,
    STATE,
    SUCCEEDS,
    UNREAD,
    ImaginedQ,
    Reading,
    Row,
    kind_of,
    question_of,
)
from pgv_jax.critic.note_value import LEAST_CHANCE, expected, note_value, note_values
from pgv_jax.critic.reader import Scene
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.known_parts import MOST_READ
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.errors import PgvError
from pgv_jax.texts.templates import FAILURE, SUCCESS

D, GAMMA = 16, 0.9
ENCODER = open_encoder(f"sentences:hash:{D}")
SPEC = CriticSpec(
    D, (8,), 2, False, "gelu", "sigmoid", note_width=8, note_cosines=True, note_value=True
)
WITH_EXPERT = replace(SPEC, outcome_members=3)
"""One whose outcome goals are a probe's."""
OF_THE_MEAN = replace(SPEC, note_cosines=False, note_value=False)
"""A critic of the first form: no cosines of what appears, and the head V values the next note."""
KNOWN = ["The door is open.", "You hold the key.", "You are in the hall."]
TASK = "Open the door. Do not break it."
NOTE = "You are in the hall. A key is here."
NOTE_PARTS = ["You are in the hall.", "A key is here."]
THOUGHTS = ["I take the key.", "I open the door.", "I wait."]
GOALS = [SUCCESS, "A key is here.", "The door is open.", FAILURE]


def lively(tree: Any) -> Any:
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda x: generator.standard_normal(x.shape, np.float32) / 2, tree)


def params(spec: CriticSpec = SPEC) -> dict[str, Any]:
    critic = nnx.eval_shape(lambda: Critic(spec, jax.random.key(0)))
    made = lively(nnx.to_pure_dict(nnx.state(critic)))
    for head in made.values():
        if "outcome" in head:
            head["outcome"]["goals"] = ENCODER.encode([SUCCESS, FAILURE])
    trained, centres, known = next_note.separated(
        next_note.shapes(spec.ensemble, D, spec.note_width, len(KNOWN), *spec.note_parts)
    )
    one = np.ones(1, np.float32)
    centres = lively(centres)._replace(part_scale=one, thought_scale=one)
    known = ENCODER.encode(KNOWN)
    return {**made, "m": next_note.joined(lively(trained), centres, known)}


def saved(folder: Path, spec: CriticSpec = SPEC) -> Path:
    manifest = {
        "critic": spec.to_json(),
        "encoder": {"name": ENCODER.name, "fingerprint": ENCODER.fingerprint},
        "texts": {"history": 0},
        "objective": {"name": "gc_iql", "gamma": GAMMA},
        "heads": ["q", "v"],
    }
    return artifacts.save(folder / "artifact", params(spec), manifest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("critic"))


@pytest.fixture(scope="module")
def value(folder) -> ValueFunction:
    return ValueFunction.load(folder)


def model(spec: CriticSpec = SPEC) -> ImaginedQ:
    critic = nnx.eval_shape(lambda: Critic(spec, jax.random.key(0)))
    made = params(spec)
    return ImaginedQ(made["m"], critic.v, made["v"], "sigmoid", GAMMA)


def test_a_text_is_its_distinct_sentences_and_those_past_the_last_are_not_read():
    many = " ".join(f"Thing {i} is here." for i in range(MOST_READ + 2))
    reading = Reading.of(f"{many} Thing 0 is here.")
    assert len(reading.read) == MOST_READ
    assert reading.unread == (f"Thing {MOST_READ} is here.", f"Thing {MOST_READ + 1} is here.")
    assert reading.place("Thing 1 is here.") == 1
    assert reading.place(f"Thing {MOST_READ} is here.") == UNREAD
    assert reading.place("No such thing.") == ABSENT
    assert [kind_of(goal) for goal in (SUCCESS, FAILURE, "A key.")] == [SUCCEEDS, FAILS, STATE]


def test_a_grid_is_its_pairs_and_padding_is_invisible(value):
    grid_NG = value.q(TASK, NOTE, THOUGHTS, GOALS)
    assert grid_NG.shape == (3, 4)
    pairs = [(thought, goal) for thought in THOUGHTS for goal in GOALS]
    thoughts, goals = zip(*pairs, strict=True)
    count = len(pairs)
    flat = value.q_pairs([TASK] * count, [NOTE] * count, thoughts, goals)
    np.testing.assert_allclose(flat.reshape(3, 4), grid_NG, rtol=1e-5)
    # Rows of other tasks and notes beside them change nothing.
    mixed = value.q_pairs(
        [TASK, "Another task."], [NOTE, "It is dark."], [THOUGHTS[0]] * 2, [GOALS[1]] * 2
    )
    np.testing.assert_allclose(mixed[0], grid_NG[0, 1], rtol=1e-5)
    assert value.q_members([TASK], [NOTE], THOUGHTS[:1], GOALS[:1]).shape == (2, 1)


@pytest.mark.parametrize("spec", [SPEC, OF_THE_MEAN], ids=["sentences", "mean"])
def test_q_is_the_formula_of_its_parts(spec, tmp_path):
    value = ValueFunction.load(saved(tmp_path, spec))
    rows = [Row(TASK, NOTE, thought) for thought in THOUGHTS]
    question = question_of(rows, [GOALS], ENCODER.encode)
    told, _ = model(spec).chances(question)
    gone, appears, ends = (np.asarray(x, np.float64)[:, :3] for x in told)
    note, known = ENCODER.encode(["You are in the hall.", "A key is here."]), ENCODER.encode(KNOWN)
    wanted = []
    for e in range(2):
        raw = (1 - gone[e, :, :2]) @ note + appears[e] @ known
        following = raw / np.linalg.norm(raw, axis=-1, keepdims=True)
        v = np.stack([v_of(following, goal) for goal in GOALS], axis=1)
        if spec.note_value:  # of sentences, and not of the outcomes
            v[:, 1:3] = note_values_of(e, gone[e, :, :2], appears[e])[:, 1:3]
        succeeds, fails = ends[e, :, 1], ends[e, :, 2]
        open_ = 1 - succeeds - fails
        stays = 1 - gone[e, :, 1]
        wanted.append(
            GAMMA
            * np.stack(
                [
                    succeeds + open_ * v[:, 0],
                    stays + (1 - stays) * open_ * v[:, 1],
                    appears[e, :, 0] + (1 - appears[e, :, 0]) * open_ * v[:, 2],
                    fails + open_ * v[:, 3],
                ],
                axis=1,
            )
        )
    np.testing.assert_allclose(value.q(TASK, NOTE, THOUGHTS, GOALS), np.mean(wanted, 0), rtol=1e-4)


def note_values_of(e: int, gone: np.ndarray, appears: np.ndarray) -> np.ndarray:
    """Values of the expected notes for GOALS by member ``e``, sentence by sentence."""
    member, centres, known = next_note.separated(params()["m"])
    member = jax.tree.map(lambda x: x[e], member)
    said = ["You are in the hall.", "A key is here.", "Open the door.", "Do not break it."]
    parts = np.concatenate([ENCODER.encode(said), known])
    ids = np.asarray([[0, 1, 4, 5, 6]] * len(gone))
    weights = np.concatenate([1 - gone, appears], axis=1).astype(np.float32)
    ids = np.where(weights > LEAST_CHANCE, ids, -1)
    tasks = np.asarray([[2, 3]] * len(gone))
    scores = []
    for goal in GOALS:
        goals = np.repeat(ENCODER.encode([goal]), len(gone), 0)
        scores.append(note_value(member, centres, Scene(parts, ids, tasks, goals, weights)))
    return np.asarray(1 / (1 + np.exp(-np.stack(scores, axis=1))))


def test_the_value_of_a_note_by_hand():
    """With kernels of 0 only biases speak: b + log(sum of w exp(3 c)) / 3 over the sentences."""
    member, centres, _ = next_note.separated(params()["m"])
    own = jax.tree.map(lambda x: np.zeros(x.shape[1:], np.float32), member["note_value"])
    own |= {"end_out_bias": np.full(1, 0.5), "part_end_out_bias": np.full(1, 0.2)}
    vectors = ENCODER.encode(["A.", "B.", "C.", "A goal."])
    note, task = np.asarray([[0, 1, -1]]), np.asarray([[2, -1]])

    def of(weights):
        scene = Scene(vectors[:3], note, task, vectors[3:], weights)
        return float(note_value({"note_value": own}, centres, scene)[0])

    assert of(None) == pytest.approx(0.5 + 0.2 + np.log(3) / 3, rel=1e-5)
    weights = np.asarray([[0.5, 0.25, 1.0]], np.float32)  # the task's sentence counts whole
    assert of(weights) == pytest.approx(0.5 + 0.2 + np.log(1.75) / 3, rel=1e-5)


def test_a_certain_expected_note_is_valued_as_that_note():
    member, centres, known = next_note.separated(params()["m"])
    member = jax.tree.map(lambda x: x[0], member)
    vectors = np.concatenate([ENCODER.encode([*NOTE_PARTS, "Open the door."])])
    goal = ENCODER.encode(["The door is open."])
    scene = Scene(vectors, np.asarray([[0, 1, -1]]), np.asarray([[2]]), goal)
    # The key goes and "You hold the key." appears; what is below LEAST_CHANCE is not read.
    chances = np.asarray([[LEAST_CHANCE / 2, 1.0, LEAST_CHANCE / 2]], np.float32)
    gone = np.asarray([[0.0, 1.0 - LEAST_CHANCE / 2, 0.0]], np.float32)
    note = expected(gone, chances, scene, known)
    found = note_values(member, centres, note, goal[None])
    said = np.concatenate([vectors, known[1:2]])
    true = Scene(said, np.asarray([[0, 3]]), np.asarray([[2]]), goal)
    logit = float(note_value(member, centres, true)[0])
    assert float(found[0, 0]) == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-4)


def v_of(observation: np.ndarray, goal: str) -> np.ndarray:
    critic = nnx.eval_shape(lambda: Critic(SPEC, jax.random.key(0)))
    graph = nnx.graphdef(critic.v)
    head = nnx.merge(graph, nnx.State(jax.tree.map(np.asarray, params()["v"])))
    count = len(observation)
    inputs = {
        "task": ENCODER.encode([TASK] * count),
        "observation": observation.astype(np.float32),
        "goal": ENCODER.encode([goal] * count),
    }
    return np.asarray(link(head(inputs), "sigmoid"))[0]


def test_the_order_of_sentences_does_not_matter(value):
    turned = " ".join(reversed([s + "." for s in NOTE.removesuffix(".").split(". ")]))
    assert turned != NOTE
    np.testing.assert_allclose(
        value.q(TASK, turned, THOUGHTS, GOALS), value.q(TASK, NOTE, THOUGHTS, GOALS), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("task", "note", "thought"),
    [
        ("", "", ""),
        (TASK, "", "I wait."),
        (TASK, "no sentence at all", ""),
        (TASK, " ".join(f"Thing {i} is here." for i in range(500)), "I wait."),
    ],
    ids=["nothing", "no note", "no thought", "500 sentences"],
)
def test_what_there_is_little_or_much_of_has_a_value(value, task, note, thought):
    said = value.q(task, note, [thought], GOALS)
    assert np.isfinite(said).all() and (said >= 0).all() and (said <= GAMMA).all()


def test_what_is_past_the_last_sentence_stays(value):
    many = " ".join(f"Thing {i} is here." for i in range(MOST_READ + 2))
    goal = f"Thing {MOST_READ} is here."
    np.testing.assert_allclose(value.q(TASK, many, ["I wait."], [goal]), [[GAMMA]], rtol=1e-6)


def test_a_critic_without_its_model_is_refused(folder, tmp_path):
    opened = artifacts.load(folder)
    without = {name: head for name, head in opened.params.items() if name != "m"}
    manifest = {k: v for k, v in opened.manifest.items() if k not in ("format", "version")}
    artifacts.save(tmp_path / "artifact", without, manifest)
    with pytest.raises(PgvError, match=r"parameter m/.*damaged"):
        ValueFunction.load(tmp_path / "artifact")


def test_no_thoughts_and_no_goals_are_no_values(value):
    assert value.q(TASK, NOTE, [], GOALS).shape == (0, 4)
    assert value.q(TASK, NOTE, THOUGHTS, []).shape == (3, 0)
    assert value.q_members([], [], [], []).shape == (2, 0)


def test_what_a_thought_is_expected_to_lead_to(value):
    known = value.expects(TASK, NOTE, THOUGHTS, [*KNOWN, "A key is here."])
    assert len(known) == len(THOUGHTS)
    rows = [Row(TASK, NOTE, thought) for thought in THOUGHTS]
    told, _ = model().chances(question_of(rows, [GOALS], ENCODER.encode))
    first = known[0]
    assert {text for text, _ in first.gone} == {"You are in the hall.", "A key is here."}
    assert dict(first.gone)["A key is here."] == pytest.approx(told.gone[:, 0, 1].mean(), rel=1e-5)
    # What stands in the note does not appear; what is known appears as the model says.
    assert {text for text, _ in first.appears} == {"The door is open.", "You hold the key."}
    appears = told.appears[:, 0].mean(0)
    assert dict(first.appears)["The door is open."] == pytest.approx(appears[0], rel=1e-4)
    assert list(first.ends) == ["goes on", "success", "failure", "cut off"]
    assert sum(first.ends.values()) == pytest.approx(1, rel=1e-5)
    for pairs in (first.gone, first.appears):
        assert [p for _, p in pairs] == sorted((p for _, p in pairs), reverse=True)


def test_a_critic_may_be_asked_for_its_direct_q(folder):
    direct = ValueFunction.load(folder, imagine=False)
    assert not direct.imagines
    with pytest.raises(PgvError, match=r"critic\.q=imagined"):
        direct.expects(TASK, NOTE, THOUGHTS, KNOWN)
    imagined = ValueFunction.load(folder)
    assert imagined.imagines
    said = [each.q(TASK, NOTE, THOUGHTS, GOALS) for each in (direct, imagined)]
    assert np.abs(said[0] - said[1]).max() > 0.01


def test_outcome_goals_are_the_experts_where_there_is_one(tmp_path, value):
    """Two members that imagine and three of the probe: six, each side repeated."""
    critic = ValueFunction.load(saved(tmp_path, WITH_EXPERT))
    direct = ValueFunction.load(tmp_path / "artifact", imagine=False)
    members_ENG = critic.q_ensemble(TASK, NOTE, THOUGHTS, GOALS)
    by_expert = direct.q_ensemble(TASK, NOTE, THOUGHTS, [SUCCESS, FAILURE])
    assert members_ENG.shape == (6, 3, 4)
    np.testing.assert_allclose(members_ENG[..., [0, 3]], by_expert, rtol=1e-5)
    np.testing.assert_allclose(by_expert[..., 0] + by_expert[..., 1], 1, rtol=1e-5)
    # By hand: the probe's logit is linear in the three texts.
    outcome = artifacts.load(tmp_path / "artifact").params["q"]["outcome"]
    texts = {"task": TASK, "observation": NOTE, "thought": THOUGHTS[0]}
    logit_M = outcome["bias"][:, 0] + sum(
        ENCODER.encode([text])[0] @ outcome[name]["kernel"][..., 0].T
        for name, text in texts.items()
    )
    np.testing.assert_allclose(by_expert[::2, 0, 0], 1 / (1 + np.exp(-logit_M)), rtol=1e-5)
    # Sentences are imagined, by the same members as without an expert.
    sentences = [GOALS[1], GOALS[2]]
    alone_ENG = value.q_ensemble(TASK, NOTE, THOUGHTS, sentences)
    np.testing.assert_allclose(members_ENG[..., 1:3], np.repeat(alone_ENG, 3, axis=0), rtol=1e-5)
    # Aligned lists have the same values, in their order.
    rows = [(thought, goal) for thought in THOUGHTS for goal in GOALS]
    pairs_EB = critic.q_members([TASK] * 12, [NOTE] * 12, *map(list, zip(*rows, strict=True)))
    np.testing.assert_allclose(pairs_EB, members_ENG.reshape(6, 12), rtol=1e-4)
    assert critic.q_members([], [], [], []).shape == (6, 0)
    # V has the probe's three members, of which pessimism takes off the disagreement, either way.
    wary = ValueFunction.load(tmp_path / "artifact", pessimism=1.0)
    pairs_B = wary.v_pairs([TASK] * 2, [NOTE] * 2, [SUCCESS, FAILURE])
    np.testing.assert_allclose(pairs_B, wary.v(TASK, NOTE, [SUCCESS, FAILURE]), rtol=1e-5)
    assert (pairs_B < critic.v(TASK, NOTE, [SUCCESS, FAILURE])).all()
    assert critic.q(TASK, NOTE, [], GOALS).shape == (0, 4)


def test_a_known_sentence_has_one_chance_however_it_is_asked():
    """At a real width: there a compiled sum for goals was wrong, and the product for all right."""
    dim, count_K = 384, 200
    spec = replace(SPEC, dim=dim, note_width=64)
    generator = np.random.default_rng(1)
    names = [f"known {k}" for k in range(count_K)]
    said = {name: generator.standard_normal(dim).astype(np.float32) for name in names}

    def lookup(texts):
        for text in texts:
            said.setdefault(text, generator.standard_normal(dim).astype(np.float32))
        vectors = np.stack([said[text] for text in texts])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    critic = nnx.eval_shape(lambda: Critic(spec, jax.random.key(0)))
    heads = lively(nnx.to_pure_dict(nnx.state(critic)))
    shapes = next_note.shapes(spec.ensemble, dim, spec.note_width, count_K, *spec.note_parts)
    trained, centres, _ = next_note.separated(shapes)
    one = np.ones(1, np.float32)
    centres = jax.tree.map(lambda x: 0.02 * x, lively(centres))
    centres = centres._replace(part_scale=0.05 * one, thought_scale=0.05 * one)
    small = jax.tree.map(lambda x: 0.2 * x, lively(trained))
    small["rank_sharpness"] = np.full_like(small["rank_sharpness"], 20.0)
    joined = next_note.joined(small, centres, lookup(names))
    asked = ImaginedQ(joined, critic.v, heads["v"], "sigmoid", GAMMA)
    rows = [Row("A task.", "A note. Another note.", f"thought {i}") for i in range(4)]
    told, p_EBG = asked.chances(question_of(rows, [names[:8]], lookup))
    np.testing.assert_allclose(p_EBG[:, :4, :8], told.appears[:, :4, :8], rtol=1e-3, atol=1e-6)
