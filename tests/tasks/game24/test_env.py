import os
import random
from fractions import Fraction
from pathlib import Path

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import NOT_UNDERSTOOD
from pgv_jax.tasks.game24.env import Game24Env
from pgv_jax.tasks.game24.solver import TARGET, apply, reachable, solvable, steps
from pgv_jax.texts.sentences import sentences

DATA = Path(os.environ.get("PGV_TEST_DATA") or Path(__file__).parents[4] / "shared" / "data")
ENV = Game24Env()
NUMBERS = st.lists(
    st.fractions(min_value=-30, max_value=30, max_denominator=6), min_size=1, max_size=3
).map(lambda numbers: tuple(sorted(numbers)))


def start(puzzle="4-6-9-13"):
    return ENV.reset(options={"task": puzzle})


def test_gymnasium_finds_nothing_to_complain_about():
    check_env(ENV, skip_render_check=True)


def test_equal_seeds_draw_equal_puzzles():
    drawn = [ENV.reset(seed=seed) for seed in range(20)]
    assert drawn == [ENV.reset(seed=seed) for seed in range(20)]
    assert len({info["task_id"] for _, info in drawn}) > 10
    assert Game24Env().task_ids() == ENV.task_ids()


def test_there_are_1362_puzzles_of_cards():
    train, test = ENV.task_ids("train"), ENV.task_ids("test")
    assert len(train) == 1262 and len(test) == 100 and len({*train, *test}) == 1362
    assert "3-3-8-8" in {*train, *test} and "1-1-1-1" not in {*train, *test}


@pytest.mark.parametrize("puzzle", random.Random(0).sample(ENV.task_ids(), 150))
def test_the_expert_makes_24_in_three_steps(puzzle):
    _, info = start(puzzle)
    rewards = []
    for left in (3, 2, 1):
        assert ENV.distance() == left
        action = ENV.expert_action()
        assert action in info["admissible_actions"] and ENV.correct(action)
        assert ENV.preferences([action]) == [1 / left]
        _, reward, terminated, truncated, info = ENV.step(action)
        rewards.append(reward)
    assert terminated and not truncated and info["success"] and info["score"] == 1
    assert rewards == [0, 0, 1] and info["admissible_actions"] == []


def brute(numbers):
    """Whether the numbers can make 24, by trying every step."""
    if len(numbers) == 1:
        return numbers[0] == TARGET
    return any(brute(after) for *_, after in steps(numbers))


@given(NUMBERS)
def test_the_solver_agrees_with_trying_everything(numbers):
    assert solvable(numbers) == brute(numbers) == (TARGET in reachable(numbers))


def test_the_solver_agrees_with_trying_everything_on_four_numbers():
    for cards in random.Random(1).sample(range(13**4), 25):
        numbers = tuple(sorted(Fraction(cards // 13**k % 13 + 1) for k in range(4)))
        assert solvable(numbers) == brute(numbers)


@given(NUMBERS.filter(lambda numbers: len(numbers) > 1))
def test_steps_are_exact_and_distinct(numbers):
    found = list(steps(numbers))
    assert len({(a, sign, b) for a, sign, b, _ in found}) == len(found)
    for a, sign, b, after in found:
        assert len(after) == len(numbers) - 1 and apply(a, sign, b) in after
        assert sum(after) == sum(numbers) - a - b + apply(a, sign, b)


@given(st.text() | st.from_regex(r"\(?-?\d{1,3}(/\d)?\)? ?[-+*/x] ?\d{1,3}(=.*)?", fullmatch=True))
def test_any_action_is_survived_with_a_sentence(action):
    note, _ = start()
    text, reward, terminated, _, info = ENV.step(action)
    assert reward == 0 and not terminated and text in ENV.observation_space
    assert text == f"{note} {NOT_UNDERSTOOD}" or "3 numbers are left." in text
    assert info["score"] == 0


@pytest.mark.parametrize(
    ("action", "left"),
    [
        ("13 - 9", "4 4 6"),
        ("13 - 9 = 4 (left: 4 4 6)", "4 4 6"),
        ("9-13", "-4 4 6"),
        ("4 x 6", "9 13 24"),
        ("4 \u00d7 6 = 25", "9 13 24"),  # what is said to come of it is not read
        ("(6) / (4)", "3/2 9 13"),
        ("6.0 \u00f7 4", "3/2 9 13"),
    ],
)
def test_steps_in_their_spellings(action, left):
    start()
    ENV.step(action)
    assert " ".join(map(str, ENV._moment.numbers)) == left


@pytest.mark.parametrize(
    "action", ["4 + 4", "4 + 5", "4 ^ 6", "4 + 6 + 9", "4", "4 / 0", "1/0 + 4"]
)
def test_what_is_no_step_changes_nothing_but_the_note(action):
    note, info = start()
    assert ENV.step(action) == (f"{note} {NOT_UNDERSTOOD}", 0.0, False, False, info)


def test_fractions_are_exact():
    start("3-3-8-8")
    for action in ("8 / 3", "3 - 8/3", "8 / 1/3"):
        text, reward, terminated, _, info = ENV.step(action)
    assert terminated and reward == 1 and info["success"]
    assert text == "1 number is left. The number 24 is left."


def test_a_dead_end_is_no_success_and_has_no_expert():
    start()
    dead = [a for a in ENV.admissible_actions() if not ENV.correct(a)]
    assert dead and ENV.preferences(dead) == [0.0] * len(dead)
    ENV.step(dead[0])
    assert ENV.expert_action() is None and ENV.distance() is None
    while True:
        _, reward, terminated, _, info = ENV.step(ENV.admissible_actions()[0])
        if terminated:
            break
    assert reward == 0 and not info["success"]
    with pytest.raises(PgvError, match="over; call reset"):
        ENV.step("1 + 1")


def test_notes_and_thoughts_are_true_sentences():
    rng = random.Random(2)
    for puzzle in rng.sample(ENV.task_ids(), 20):
        note, info = start(puzzle)
        terminated = False
        while not terminated:
            assert " ".join(sentences(note)) == note
            for action in info["admissible_actions"]:
                thought = ENV.thought_for(action)
                assert sentences(thought) == [thought]
                here = ENV.snapshot()
                ENV.step(action)
                left = ENV._moment.numbers
                if len(left) == 2:
                    assert ("makes 24." in thought) == solvable(left)
                if len(left) == 1:
                    assert ("not 24" in thought) == (left[0] != 24)
                ENV.restore(here)
            note, _, terminated, _, info = ENV.step(rng.choice(info["admissible_actions"]))
    start("1-1-4-6")
    assert "The number 1 is left twice." in sentences(ENV._observe())
    assert Game24Env(reasons=False, max_steps=2).reset()[0]


def test_the_step_limit_truncates():
    env = Game24Env(max_steps=2)
    env.reset(seed=0)
    assert [env.step("no")[2:4] for _ in range(2)] == [(False, False), (False, True)]
    with pytest.raises(PgvError, match="over; call reset"):
        env.step("no")


def test_the_published_table_s_form(tmp_path):
    rows = [f"{n},{n % 13 + 1} 2 3 4,1.0,99%,1,1\n" for n in range(1, 1003)]
    (tmp_path / "24.csv").write_text("Rank,Puzzles,AMT (s),Solved rate,M,S\n" + "".join(rows))
    env = Game24Env(tmp_path)
    assert len(env.task_ids("train")) == 902 and len(env.task_ids("test")) == 100
    assert env.task_ids("test")[0] == "5-2-3-4"
    (tmp_path / "24.csv").write_text("Rank,Puzzles\n1,1 2 3\n")
    with pytest.raises(PgvError, match=r"24.csv:2: '1-2-3' is no puzzle"):
        Game24Env(tmp_path)
    (tmp_path / "24.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PgvError, match="no column 'Puzzles'"):
        Game24Env(tmp_path)
    with pytest.raises(PgvError, match="cannot be read"):
        Game24Env(tmp_path / "25.csv")


@pytest.mark.skipif(not (DATA / "game24" / "24.csv").exists(), reason="no table of puzzles here")
def test_the_published_puzzles_are_the_made_ones():
    published = Game24Env(DATA / "game24").task_ids()
    assert {"-".join(sorted(p.split("-"), key=int)) for p in published} == set(ENV.task_ids())
