"""The planner against TextWorld itself: its model of commands, and that its distances are exact."""

import random

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.tasks.textworld.goals import KINDS, PER_KIND, errand_for, game_goals, kind_of
from pgv_jax.tasks.textworld.planner import Errand, distance, is_over, meal_errand
from pgv_jax.tasks.textworld.world import Exit, House, Ingredient, Situation, after


def states(env, i, seed, steps=12):
    rng = random.Random(seed)
    _, info = env.reset(options={"task": env.task_ids()[i]})
    for _ in range(steps):
        yield info["admissible_actions"]
        action = env.expert_action() if rng.random() < 0.6 else rng.choice(env.admissible_actions())
        _, _, terminated, _, info = env.step(action)
        if terminated:
            return


@pytest.mark.parametrize("i", range(3))
def test_the_model_of_commands_agrees_with_textworld(env, i):
    compared = 0
    for _ in states(env, i, seed=i):
        here, now = env.snapshot(), env.situation
        for command in env._moment.commands:
            expected = after(env.house, now, command)
            _, _, terminated, _, info = env.step(command)
            assert env.situation == expected, command
            assert is_over(env.house, expected) == terminated, command
            assert expected.eaten == info["success"]
            env.restore(here)
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("i", range(3))
def test_distances_obey_bellman(env, i):
    """d(s) = 1 + min over commands of d(s'), for the meal and for goals: so they are shortest."""
    goals = env.run_time_goals(env.task_ids()[i])
    for _ in states(env, i, seed=7 + i):
        house, now = env.house, env.situation
        errands = [None, *(errand_for(house, now, goal.sentence) for goal in goals)]
        following = [after(house, now, command) for command in env.admissible_actions()]
        for errand in errands:
            here = distance(house, now, errand or meal_errand(house, now))
            left = [distance(house, s, errand or meal_errand(house, s)) for s in following]
            known = [steps for steps in left if steps is not None]
            if here:
                assert min(known) == here - 1
            elif here is None:
                assert not known


def test_an_empty_errand_is_done_and_an_impossible_one_has_no_distance(env):
    env.reset(seed=0)
    house, now = env.house, env.situation
    assert distance(house, now, Errand()) == 0
    assert distance(house, now, Errand(hold=frozenset(["unicorn"]))) is None
    assert distance(house, now, Errand(prepare=frozenset([("unicorn", "fried")]))) is None
    assert distance(house, now, None) is None


def test_a_plan_by_hand():
    """Kitchen (stove) | shut door | pantry (box with a leek). From the kitchen to a fried leek.

    Open the door, go, open the box, take, go back, cook: six commands.
    """
    house = House(
        exits={
            "kitchen": (Exit("east", "pantry", "door"),),
            "pantry": (Exit("west", "kitchen", "door"),),
        },
        doors={"door": ("kitchen", "pantry")},
        containers={"box": "pantry"},
        holders={"box": "pantry", "stove": "kitchen"},
        appliances={"stove": ("fried", "kitchen")},
        kitchen="kitchen",
        recipe=(Ingredient("leek", "fried", ""),),
        knife="",
        foods=("leek",),
    )
    now = Situation("kitchen", frozenset(), {"leek": "box"}, {}, {})
    fried = errand_for(house, now, "The leek is fried.")
    assert distance(house, now, fried) == 6
    assert distance(house, now, meal_errand(house, now)) == 8  # prepare, eat
    assert distance(house, now, errand_for(house, now, "The leek is chopped.")) is None  # no knife
    assert distance(house, now, errand_for(house, now, "The door is open.")) == 1
    assert distance(house, now, errand_for(house, now, "The box is open.")) == 3
    for command, left in [("open door", 5), ("go east", 4), ("open box", 3), ("go west", 4)]:
        now = after(house, now, command)
        assert distance(house, now, fried) == left, command


def test_run_time_goals_are_new_reachable_and_the_same_each_time(env):
    seen = set()
    for task_id in env.task_ids():
        goals = env.run_time_goals(task_id)
        assert goals == env.run_time_goals(task_id)
        note, _ = env.reset(options={"task": task_id})
        start = env.snapshot()
        for kind in KINDS:
            assert sum(goal.kind == kind for goal in goals) <= PER_KIND[kind]
        for goal in goals:
            seen.add(goal.kind)
            env.restore(start)
            env.set_goal(goal.sentence)
            assert goal.sentence not in note
            assert env.distance() == goal.steps == _play_to(env, goal.sentence)
    assert seen == set(KINDS)


def _play_to(env, sentence):
    for steps in range(1, 21):
        text, _, terminated, _, _ = env.step(env.expert_action())
        if sentence in text:
            return steps
        assert not terminated
    return None


def test_goals_beyond_the_step_limit_are_left_out(env):
    env.reset(seed=0)
    goals = game_goals(env.house, env.situation, "a", max_steps=2)
    assert goals and all(1 <= goal.steps <= 2 for goal in goals)


def test_the_oracle_shuns_what_ends_the_game_before_the_goal(env):
    for task_id in env.task_ids():
        env.reset(options={"task": task_id})
        goal = next(g.sentence for g in env.run_time_goals(task_id) if g.kind == "have")
        for action in env.admissible_actions():
            if action.startswith("eat "):
                env.set_goal(goal)
                wanted = env.house.ingredient(action.removeprefix("eat ")) is not None
                assert (env.preferences([action]) == [0.0]) == wanted


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("The fridge is open.", "open"),
        ("You are in the pantry.", "be in"),
        ("You have the red hot pepper.", "have"),
        ("The block of cheese is diced.", "cut"),
        ("The carrot is grilled.", "cook"),
        ("The carrot is burned.", ""),
        ("The fridge is closed.", ""),
        ("Open the fridge.", ""),
    ],
)
def test_kinds_of_goals(env, sentence, kind):
    assert kind_of(sentence) == kind
    env.reset(seed=0)
    if not kind:
        with pytest.raises(PgvError, match="no goal of a cooking game"):
            env.set_goal(sentence)
