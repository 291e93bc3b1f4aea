import random

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import NOT_UNDERSTOOD
from pgv_jax.tasks.textworld.env import OFFERED, TextWorldEnv
from pgv_jax.texts.templates import sentences


def start(env, i=0):
    return env.reset(options={"task": env.task_ids("train")[i]})


def wander(env, i, seed, skill=0.5):
    """Play with some skill and yield (note, info) of every state that is not an end."""
    rng = random.Random(seed)
    note, info = start(env, i)
    ended = False
    while not ended:
        yield note, info
        actions = info["admissible_actions"]
        action = env.expert_action() if rng.random() < skill else rng.choice(actions)
        note, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated


@pytest.mark.parametrize("i", range(3))
def test_the_expert_wins_in_the_planned_number_of_commands(env, i):
    _, info = start(env, i)
    assert info["score"] == 0 and not info["success"]
    planned, reward, terminated = env.distance(), 0.0, False
    for left in range(planned, 0, -1):
        assert env.distance() == left and not terminated
        action = env.expert_action()
        assert action in info["admissible_actions"] and env.correct(action)
        _, gain, terminated, truncated, info = env.step(action)
        reward += gain
    assert terminated and not truncated and info["success"]
    assert info["score"] == 1 and reward == pytest.approx(1)
    assert info["admissible_actions"] == []


def test_an_unknown_command_is_a_sentence_and_changes_nothing_else(env):
    note, info = start(env)
    for nonsense in ("", "fly away", "take nothing from nowhere", "go\nnorth and win", "é" * 500):
        after, reward, terminated, truncated, later = env.step(nonsense)
        assert after == f"{note} {NOT_UNDERSTOOD}"
        assert (reward, terminated, truncated, later) == (0, False, False, info)
    action = env.expert_action()
    assert NOT_UNDERSTOOD not in env.step(f"  {action.upper()} ")[0]
    assert env.distance() is not None


def test_the_step_limit_truncates_and_is_no_success(games):
    env = TextWorldEnv(games, train=1, test=0, max_steps=3)
    start(env)
    ends = [env.step("wait")[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    with pytest.raises(PgvError, match="over; call reset"):
        env.step("wait")


def test_a_spoiled_meal_terminates_without_success_and_without_a_verdict_in_the_note(env):
    spoiled = 0
    for i in range(3):
        for _note, info in wander(env, i, seed=i, skill=1.0):
            here = env.snapshot()
            for action in info["admissible_actions"]:
                if env.preferences([action]) == [0.0]:
                    after, _, terminated, _, later = env.step(action)
                    assert terminated and not later["success"] and later["score"] < 1
                    assert env.distance() is None and env.expert_action() is None
                    assert not set("!0123456789") & set(after)
                    spoiled += 1
                    env.restore(here)
    assert spoiled > 5


def test_restoring_a_snapshot_repeats_the_future(env):
    start(env)
    env.step(env.expert_action())
    here = env.snapshot()

    def future():
        seen = []
        while env.expert_action():
            seen.append(env.step(env.expert_action()))
        return seen

    first = future()
    env.restore(here)
    second = future()
    assert first == second and first[-1][2]
    start(env, 1)
    env.restore(here)
    assert future() == first


def test_the_same_seed_draws_the_same_game(env):
    drawn = [env.reset(seed=seed)[1]["task_id"] for seed in range(12)]
    assert drawn == [env.reset(seed=seed)[1]["task_id"] for seed in range(12)]
    assert len(set(drawn)) > 1


def test_an_unknown_game_is_a_sentence(env):
    with pytest.raises(PgvError, match="not one of the 3 tasks of 'textworld'"):
        env.reset(options={"task": "cooking-r9"})
    with pytest.raises(PgvError, match="call reset first"):
        env.expert_action()


def test_offered_commands_can_all_be_given_and_waste_no_step(env):
    for i in range(3):
        for note, info in wander(env, i, seed=10 + i):
            here = env.snapshot()
            actions = info["admissible_actions"]
            assert actions == sorted(set(actions)) and actions
            for action in actions:
                assert action.split()[0] in OFFERED
                after = env.step(action)[0]
                assert NOT_UNDERSTOOD not in after and after != note, action
                env.restore(here)


def test_the_meal_is_prepared_only_when_every_ingredient_is_ready(env):
    for i in range(3):
        for note, info in wander(env, i, seed=20 + i, skill=0.8):
            pending = "You still need" in note or "still has to be" in note.replace(
                "The meal still has to be", ""
            )
            in_kitchen = "You are in the kitchen." in note
            prepared = "You have the meal." in note
            ready = in_kitchen and not pending and not prepared
            assert ("prepare meal" in info["admissible_actions"]) == ready


def test_notes_are_the_facts(env):
    """Each sentence of a kind stands in the note exactly if TextWorld's facts say so."""
    for i in range(3):
        for note, _ in wander(env, i, seed=30 + i, skill=0.7):
            lines = sentences(note)
            assert len(lines) == len(set(lines)) and " ".join(lines) == note
            facts = env._moment.progress.state.facts
            names = env._game.names
            held, opened = set(), set()
            for fact in facts:
                words = [names.get(a.name, a.name) for a in fact.arguments]
                kinds = [a.type for a in fact.arguments]
                if fact.name == "in" and kinds[1] == "I":
                    held.add(f"You have the {words[0]}.")
                if fact.name == "at" and kinds[0] == "P":
                    assert lines[0] == f"You are in the {words[1]}."
                if fact.name == "open":
                    opened.add(f"The {words[0]} is open.")
            assert {s for s in lines if s.startswith("You have")} == held
            assert {s for s in lines if s.endswith(" is open.")} <= opened
            closed = {s.replace("closed", "open") for s in lines if s.endswith(" is closed.")}
            assert not closed & opened


def test_a_thought_is_one_sentence_that_does_not_follow_the_expert(env):
    thoughts = set()
    for i in range(3):
        goal = env.run_time_goals(env.task_ids()[i])[-1].sentence
        for _, info in wander(env, i, seed=40 + i):
            actions = info["admissible_actions"]
            reasons = [env.thought_for(action) for action in actions]
            env.set_goal(goal)
            assert [env.thought_for(action) for action in actions] == reasons
            env.set_goal(None)
            thoughts.update(reasons)
    for thought in thoughts:
        assert sentences(thought) == [thought]
        assert not set(thought) & set("0123456789{}_")
        assert not any(word in thought for word in ("best", "right", "expert", "plan"))


def test_without_reasons_a_thought_only_says_what_is_done(games):
    env = TextWorldEnv(games, train=1, test=0, reasons=False)
    _, info = start(env)
    for action in info["admissible_actions"]:
        assert env.thought_for(action) == f"I should {action}."
