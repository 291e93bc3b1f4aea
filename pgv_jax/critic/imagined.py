"""Imagined Q: the next-note model says where a thought leads, V says what that is worth.

    Q(s, a, g) = gamma (P(g) + (1 - P(g)) P(goes on) V(s', g))     for a sentence g
    Q(s, a, c) = gamma (P(c) + P(goes on) V(s', c))                for an outcome c

The expectation of the target in ``objectives.iql``, where V is 1 at a goal. P(g) is the chance that
g holds at the next step, s' the predicted next note, and P(goes on) the chance that the step ends
in neither success nor failure. A log that was cut off says nothing of the thought, so that counts
as going on. V(s', c) is the head V, which reads the note's mean vector; V(s', g) is the note's
value by its sentences (``note_value``), and with ``critic.reads=mean`` the head V as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.critic.heads import Head, link, width_first
from pgv_jax.critic.next_note import (
    ENDS,
    Plan,
    Targets,
    appearing,
    appearing_goals,
    composed,
    imagine,
    separated,
    targets,
)
from pgv_jax.critic.note_value import expected, note_values
from pgv_jax.critic.reader import Centres, Scene
from pgv_jax.data.known_parts import MOST_READ
from pgv_jax.texts.sentences import sentences
from pgv_jax.texts.templates import FAILURE, SUCCESS

LEAST_PARTS, LEAST_NOTE, LEAST_TASK = 64, 32, 8
"""Numbers of distinct parts, and of those of a note and a task, that smaller ones are padded to."""
ABSENT, UNREAD = -1, -2
"""Where a goal stands in a note: not at all, or past the sentences that are read."""
STATE, SUCCEEDS, FAILS = range(3)
"""What a goal is: a sentence, or one of the outcomes, numbered as the model's ends are."""


class Question(NamedTuple):
    """Steps B and their goals G, in numbers; R is B, or 1 where all steps share it.

    ``rest_RD`` is the sum over sentences that are not read; ``at_RG`` a goal's place in the note.
    """

    scene: Scene
    rest_RD: Any
    task_RD: Any
    goal_RGD: Any
    at_RG: Any
    kind_RG: Any


class Forecast(NamedTuple):
    """Chances of what goes [..., B, L], appears [..., B, K] and how it ends [..., B, 4]."""

    gone: Any
    appears: Any
    ends: Any


Lookup = Callable[[Sequence[str]], np.ndarray]
"""texts -> their vectors, float32 [n, D]."""


@dataclass(frozen=True)
class Row:
    """One step in words."""

    task: str
    observation: str
    thought: str


@dataclass(frozen=True)
class Expectation:
    """What a thought is expected to lead to: (sentence, chance), most likely first, and the ends.

    ``appears`` is of the sentences that were asked about; ``ends`` maps each of ``ENDS`` to its
    chance.
    """

    gone: tuple[tuple[str, float], ...]
    appears: tuple[tuple[str, float], ...]
    ends: dict[str, float]


@dataclass(frozen=True)
class Reading:
    """A text as its distinct sentences: those that are read, and the others, which stay."""

    read: tuple[str, ...]
    unread: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Reading:
        """Cut a text as the table was cut."""
        held = tuple(dict.fromkeys(sentences(text)))
        return cls(held[:MOST_READ], held[MOST_READ:])

    def place(self, goal: str) -> int:
        """Where a goal stands in the text."""
        if goal in self.read:
            return self.read.index(goal)
        return UNREAD if goal in self.unread else ABSENT


def kind_of(goal: str) -> int:
    """STATE, SUCCEEDS or FAILS."""
    return {SUCCESS: SUCCEEDS, FAILURE: FAILS}.get(goal, STATE)


class Model(NamedTuple):
    """The next-note model: E members' parameters and the centres of the fields.

    The known sentences [K, D] stand raw, and as each member asks for them, [E, ...].
    """

    members: dict[str, Any]
    centres: Centres
    known_KD: jax.Array
    asked: Targets


def model_of(members: dict[str, Any], centres: Centres, known_KD: jax.Array) -> Model:
    """A model that projects its known sentences once, for any number of questions."""
    asked = [targets(member, centres, known_KD) for member in _each(members)]
    return Model(members, centres, known_KD, jax.tree.map(lambda *x: jnp.stack(x), *asked))


def forecast(model: Model, scene: Scene) -> tuple[Forecast, Plan]:
    """What each member expects of the next step, and its plan [E, ...]."""

    def one(member: Any, asked: Targets) -> tuple[Forecast, Plan]:
        said = imagine(member, model.centres, scene)
        appears_BK = jax.nn.sigmoid(appearing(said.plan, asked))
        told = Forecast(jax.nn.sigmoid(said.gone_BL), appears_BK, jax.nn.softmax(said.end_BC))
        return told, said.plan

    return jax.vmap(one)(model.members, model.asked)


def imagined_values(
    model: Model, v: Head, question: Question, linked: str, gamma: float
) -> tuple[jax.Array, jax.Array]:
    """Q by each member [E, B, G], and the vectors of the notes that it expects [E, B, D]."""
    told, plan = forecast(model, question.scene)
    context = v.project({"task": question.task_RD})[:, None]
    context = context + v.project({"goal": question.goal_RGD})

    def one(member: Any, known: Targets, told: Forecast, plan: Plan) -> tuple[jax.Array, jax.Array]:
        next_BD = composed(
            told.gone, told.appears, question.scene, model.known_KD, question.rest_RD
        )
        h_BGEH = v.project({"observation": next_BD})[:, None] + context
        v_BG = link(v.finish(h_BGEH), linked).mean(0)
        if "note_value" in member:
            note = expected(told.gone, told.appears, question.scene, model.known_KD)
            own_BG = note_values(member, model.centres, note, question.goal_RGD)
            v_BG = jnp.where(question.kind_RG == STATE, own_BG, v_BG)
        p_BG = _holds_next(member, model.centres, known, told, plan, question)
        goes_on_B1 = 1.0 - told.ends[:, 1:2] - told.ends[:, 2:3]
        open_BG = jnp.where(question.kind_RG == STATE, 1.0 - p_BG, 1.0)
        return gamma * (p_BG + open_BG * goes_on_B1 * v_BG), next_BD

    return jax.vmap(one)(model.members, model.asked, told, plan)


class ImaginedQ:
    """The compiled next-note model with the V head of the same artifact; arrays in and out."""

    def __init__(
        self,
        params: dict[str, Any],
        head: Head,
        v_params: dict[str, Any],
        linked: str,
        gamma: float,
    ):
        trained, centres, known = jax.tree.map(jnp.asarray, separated(params))
        graph = nnx.graphdef(head)
        self.compilations = 0
        self._model = model_of(trained, centres, known)
        self._v = jax.tree.map(jnp.asarray, width_first(v_params))

        def values(model: Model, v_params: Any, question: Question) -> jax.Array:
            self.compilations += 1  # this line runs where a new shape is traced
            v: Head = nnx.merge(graph, nnx.State(width_first(v_params)))
            return imagined_values(model, v, question, linked, gamma)[0]

        def chances(model: Model, question: Question) -> tuple[Forecast, jax.Array]:
            told, plan = forecast(model, question.scene)
            p_EBG = jax.vmap(
                lambda m, known, t, plan: _holds_next(m, model.centres, known, t, plan, question)
            )(model.members, model.asked, told, plan)
            return told, p_EBG

        self._values, self._chances = jax.jit(values), jax.jit(chances)

    def values(self, question: Question) -> np.ndarray:
        """Q of steps and goals by each member: [E, B, G]."""
        return np.asarray(self._values(self._model, self._v, question))

    def chances(self, question: Question) -> tuple[Forecast, np.ndarray]:
        """What each member expects of the next step, and P(g) by each member, [E, B, G]."""
        told, p_EBG = self._chances(self._model, question)
        return jax.tree.map(np.asarray, told), np.asarray(p_EBG)

    def expects(
        self, rows: Sequence[Row], sentences: Sequence[str], lookup: Lookup
    ) -> list[Expectation]:
        """The expectations of rows of one note, by the members' mean; see ``Expectation``."""
        held = Reading.of(rows[0].observation)
        absent = [s for s in dict.fromkeys(sentences) if held.place(s) == ABSENT]
        question = question_of(rows, [absent or [SUCCESS]], lookup)
        told, p_EBG = self.chances(question)
        gone, ends, appears = told.gone.mean(0), told.ends.mean(0), p_EBG.mean(0)
        found = []
        for b in range(len(rows)):
            pairs = (
                zip(held.read, gone[b].tolist(), strict=False),
                zip(absent, appears[b].tolist(), strict=False),
            )
            going, coming = (tuple(sorted(each, key=lambda pair: -pair[1])) for each in pairs)
            found.append(Expectation(going, coming, dict(zip(ENDS, ends[b].tolist(), strict=True))))
        return found


def _holds_next(
    member: Any,
    centres: Centres,
    known: Targets,
    told: Forecast,
    plan: Plan,
    question: Question,
) -> jax.Array:
    """P(g) [B, G]: by the note's sentence where g stands in it, else by the model's asking."""
    shape = (plan.plan_BH.shape[0], question.goal_RGD.shape[1])
    asked = targets(member, centres, question.goal_RGD)
    goal_RG = jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, *x.shape[2:])), asked)
    logit_BG = appearing_goals(plan, goal_RG, known)
    at_BG = jnp.broadcast_to(question.at_RG, shape)
    stays_BG = 1.0 - jnp.take_along_axis(told.gone, jnp.maximum(at_BG, 0), axis=1)
    held_BG = jnp.where(at_BG == UNREAD, 1.0, stays_BG)
    state_BG = jnp.where(at_BG == ABSENT, jax.nn.sigmoid(logit_BG), held_BG)
    kind_BG = jnp.broadcast_to(question.kind_RG, shape)
    outcome_BG = jnp.take_along_axis(told.ends, jnp.maximum(kind_BG, 1), axis=1)
    return jnp.where(kind_BG == STATE, state_BG, outcome_BG)


def _each(params: dict[str, Any]) -> list[dict[str, Any]]:
    count = len(params["part_kernel"])
    return [jax.tree.map(lambda x, e=e: x[e], params) for e in range(count)]


def question_of(
    rows: Sequence[Row],
    goals: Sequence[Sequence[str]],
    lookup: Lookup,
) -> Question:
    """Put steps and goals into numbers; ``lookup(texts) -> [n, D]``.

    ``goals`` is one list that all rows share, or one list a row, all of one length. Shapes are
    padded to powers of two, so that a decision meets a shape that is compiled: what stands for
    padding comes after the rows and goals and is to be cut off.
    """
    notes = {row.observation: Reading.of(row.observation) for row in rows}
    tasks = {row.task: Reading.of(row.task) for row in rows}
    parts = dict.fromkeys(p for r in (*notes.values(), *tasks.values()) for p in r.read)
    number = {part: i for i, part in enumerate(parts)}
    shared = len(notes) == len(tasks) == len(goals) == 1
    leading = [rows[0]] if shared else list(rows)
    asked = [list(own) for own in goals] * (len(leading) if len(goals) == 1 else 1)
    said = [*parts, *(t for r in rows for t in (r.task, r.thought)), *(g for o in asked for g in o)]
    said += [part for reading in notes.values() for part in reading.unread]
    distinct = list(dict.fromkeys(said))
    vectors = np.asarray(lookup(distinct), np.float32)
    at = {text: i for i, text in enumerate(distinct)}

    def stacked(texts: Sequence[str], least: int = 1) -> np.ndarray:
        out = np.zeros((_power(max(len(texts), least)), vectors.shape[1]), np.float32)
        out[: len(texts)] = vectors[[at[text] for text in texts]]
        return out

    def ids(readings: Sequence[Reading], least: int) -> np.ndarray:
        held = [[number[part] for part in reading.read] for reading in readings]
        held += [[]] * (_power(len(rows)) - len(held))
        return _padded(held, least)

    scene = Scene(
        stacked(list(parts), LEAST_PARTS),
        ids([notes[row.observation] for row in rows], LEAST_NOTE),
        ids([tasks[row.task] for row in rows], LEAST_TASK),
        stacked([row.thought for row in rows]),
    )
    size_R, size_G = _power(len(leading)), _power(len(asked[0]))
    rest_RD = np.zeros((size_R, vectors.shape[1]), np.float32)
    goal_RGD = np.zeros((size_R, size_G, vectors.shape[1]), np.float32)
    at_RG, kind_RG = np.full((size_R, size_G), ABSENT), np.zeros((size_R, size_G), int)
    for r, (row, own) in enumerate(zip(leading, asked, strict=True)):
        note = notes[row.observation]
        rest_RD[r] = vectors[[at[part] for part in note.unread]].sum(0)
        goal_RGD[r, : len(own)] = vectors[[at[goal] for goal in own]]
        at_RG[r, : len(own)] = [note.place(goal) for goal in own]
        kind_RG[r, : len(own)] = [kind_of(goal) for goal in own]
    return Question(scene, rest_RD, stacked([r.task for r in leading]), goal_RGD, at_RG, kind_RG)


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _padded(rows: Sequence[Sequence[int]], least: int) -> np.ndarray:
    """Lists of numbers as int32 [len(rows), L], padded with -1 to a power of two >= ``least``."""
    out = np.full((len(rows), _power(max([least, *(len(row) for row in rows)]))), -1, np.int32)
    for row, held in zip(out, rows, strict=True):
        row[: len(held)] = held
    return out
