"""Whether a choice hangs on words: critics that read what is meant, the exact words, or a frame."""

from itertools import pairwise

import pytest

from pgv_jax.report.health.choices import CANDIDATES, DECISIONS, LOGGED, mixed
from pgv_jax.report.health.evaluation import judge
from pgv_jax.report.health.rewording import FRAMES, rewording
from pgv_jax.report.rows import step_rows
from pgv_jax.types import Candidate, Episode, Step
from tests.report.health.test_alike import Scores

WEST, EAT = "go west", "Eat the potato!"


def logs(tasks: int, thoughts: tuple[str, ...] = (WEST, EAT)) -> list[Episode]:
    candidates = tuple(Candidate(thought) for thought in thoughts)
    step = Step("A kitchen.", thoughts[0], "go", candidates=candidates)
    return [
        Episode(f"e{i}", f"t{i}", "Cook.", (step, step), "end", i % 2 == 0) for i in range(tasks)
    ]


@pytest.mark.parametrize(
    ("text", "before", "after", "first_person"),
    [
        (WEST, "My next step: go west", "go west. That is my next step.", "I go west."),
        (
            EAT,
            "My next step: Eat the potato!",
            "Eat the potato! That is my next step.",
            "I think: Eat the potato!",
        ),
        (
            "it is raw\nAction: fry it",
            "My next step: it is raw\nAction: fry it",
            "it is raw\nAction: fry it. That is my next step.",
            "I think: it is raw\nAction: fry it",
        ),
    ],
)
def test_frames(text, before, after, first_person):
    assert [frame(text) for frame in FRAMES.values()] == [before, after, first_person]


def test_a_critic_that_reads_what_is_meant_keeps_its_choice():
    section = rewording(
        Scores(lambda task, seen, thought: float("west" in thought)), logs(5), step_rows(logs(5))
    )
    assert (section["decisions"], section["among"]) == (10, CANDIDATES)
    assert section["any"]["differ"] == 0 and section["any"]["share"] == 0.0
    assert {found["differ"] for found in section["frames"].values()} == {0}


def test_a_critic_that_knows_its_words_by_heart_chooses_otherwise():
    def by_heart(task, seen, thought):
        return {WEST: 0.9, EAT: 0.4}.get(thought, len(thought) / 100)

    section = rewording(Scores(by_heart), logs(5), step_rows(logs(5)))
    assert section["any"]["differ"] == 10 and section["any"]["share"] == 1.0
    report = judge(logs(12), Scores(by_heart))
    (line,) = [said for said in report["verdict"]["lines"] if said.startswith("Said in other")]
    assert "in 24 of 24 decisions among candidates of the log (100 % " in line
    assert line.endswith(": word steps at run time as your logs do.")


def test_a_frame_that_alone_changes_the_choice_counts_once():
    def ends(task, seen, thought):
        return float("west" in thought) != thought.endswith("That is my next step.")

    section = rewording(Scores(ends), logs(6), step_rows(logs(6)))
    counts = {name: found["differ"] for name, found in section["frames"].items()}
    assert counts == {"before": 0, "after": 12, "first person": 0}
    assert section["any"]["differ"] == 12


def test_at_most_so_many_decisions_of_as_many_tasks_as_there_are():
    many = logs(DECISIONS)  # two decisions a task
    asked: list[str] = []

    def note(task, seen, thought):
        asked.append(task)
        return 0.0

    tasks = {f"t{i}" for i in range(DECISIONS)}
    named = [Episode(e.episode_id, e.task_id, e.task_id, e.steps, "end", True) for e in many]
    section = rewording(Scores(note), named, step_rows(named))
    assert section["decisions"] == DECISIONS and set(asked) == tasks
    assert len(asked) == DECISIONS * 2 * (1 + len(FRAMES))


def test_without_candidates_logged_thoughts_are_worded_anew_and_an_empty_one_stays():
    found = [
        Episode(f"e{i}", f"t{i}", "Cook.", (Step(f"o{i}", thought, "go"),), "end", True)
        for i, thought in enumerate(("", WEST, EAT))
    ]
    asked: set[str] = set()

    def note(task, seen, thought):
        asked.add(thought)
        return float(len(thought))

    section = rewording(Scores(note), found, step_rows(found))
    assert (section["decisions"], section["among"]) == (3, LOGGED)
    assert asked == {"", WEST, EAT, *(frame(t) for t in (WEST, EAT) for frame in FRAMES.values())}
    # "Eat the potato!" is longer than "go west" in every frame.
    assert section["any"]["differ"] == 0


def test_each_step_is_held_against_thoughts_of_its_own_draw():
    found = [
        Episode(f"e{i}", f"t{i}", "Cook.", (Step(f"o{i}", f"go {i}", "go"),), "end", True)
        for i in range(12)
    ]
    rows, start = mixed(step_rows(found), seed=0)
    assert start.tolist() == list(range(0, 73, 6)) and len(set(rows.task_ids)) == 12
    drawn = [rows.thoughts[a:b] for a, b in pairwise(start)]
    for first, thoughts in zip(start[:-1], drawn, strict=True):
        assert thoughts[0] == rows.observations[first].replace("o", "go ")
        assert len(set(thoughts)) == 6
    assert len({frozenset(thoughts) for thoughts in drawn}) > 6


def test_one_thought_is_not_testable():
    one = [Episode("e", "t", "Cook.", (Step("o", WEST, "go"),), "end", True)]
    assert not rewording(Scores(lambda *_: 0.0), one, step_rows(one))["testable"]
    assert not rewording(Scores(lambda *_: 0.0), [], step_rows([]))["testable"]
