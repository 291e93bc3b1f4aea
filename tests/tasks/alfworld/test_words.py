"""Laws of ALFWorld's notes, reasons and planner on a small house, without packages or games."""

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.tasks.alfworld.env import AlfworldEnv
from pgv_jax.tasks.alfworld.games import Game, find_games
from pgv_jax.tasks.alfworld.planner import after, goal_conditions, plan
from pgv_jax.tasks.alfworld.words import Memory, Scene, note, remember, reply, thought
from pgv_jax.tasks.alfworld.world import Situation as Now
from pgv_jax.tasks.alfworld.world import read_house

FACTS = [
    ["atlocation", "agent1", "loc 1"],
    *(["receptacleatlocation", r, f"loc {i}"] for i, r in enumerate(
        ["shelf 1", "fridge 1", "microwave 1", "sinkbasin 1"], start=2)),
    *(["receptacletype", r, f"{r.split()[0]}type"] for r in
      ["shelf 1", "fridge 1", "microwave 1", "sinkbasin 1"]),
    ["objecttype", "cup 1", "cuptype"],
    ["objecttype", "cup 2", "cuptype"],
    ["objecttype", "fork 1", "forktype"],
    ["openable", "fridge 1"],
    ["openable", "microwave 1"],
    *([ability, cup] for ability in ("heatable", "coolable", "cleanable")
      for cup in ("cup 1", "cup 2")),
    *(["cancontain", f"{r}type", "cuptype"] for r in ("shelf", "fridge", "microwave", "sinkbasin")),
    ["cancontain", "sinkbasintype", "forktype"],
]  # fmt: skip


def scene(kind, target="shelf", **now):
    game = Game("x", kind, "cup", target, "Do it.", (), "", {}, {}, FACTS)
    state = {"location": "loc 1", "hand": None, "open": frozenset(), "states": {}}
    inside = {"cup 1": frozenset({"fridge 1"}), "fork 1": frozenset({"shelf 1"})}
    return Scene(game, read_house(game), Now(**{"inside": inside, **state, **now}))


def way(of):
    return plan(of.game, of.house, of.now)


def test_hand_worked_plans():
    heat = scene("pick_heat_then_place_in_recep")
    expected = (
        "go to fridge 1",
        "open fridge 1",
        "take cup 1 from fridge 1",
        "go to microwave 1",
        "heat cup 1 with microwave 1",
        "go to shelf 1",
        "move cup 1 to shelf 1",
    )
    assert way(heat) == expected
    hot = scene("pick_heat_then_place_in_recep", states={"cup 1": frozenset({"hot"})})
    assert way(hot) == (*expected[:3], *expected[5:])
    held = scene("pick_heat_then_place_in_recep", hand="fork 1", inside=heat.now.inside)
    # the fork fits nowhere but the sink, so that is where it goes first
    assert way(held) == ("go to sinkbasin 1", "move fork 1 to sinkbasin 1", *expected)
    assert way(scene("pick_two_obj_and_place")) is None  # the second cup is nowhere


def test_success_is_no_way_at_all():
    placed = {"cup 1": frozenset({"shelf 1"})}
    assert way(scene("pick_and_place_simple", inside=placed)) == ()
    assert way(scene("pick_cool_then_place_in_recep", inside=placed)) != ()


def conditions(kind, **now):
    of = scene(kind, **now)
    return goal_conditions(of.game, of.house, of.now)


def test_goal_conditions_are_counted_as_alfred_counts_them():
    shelf, fridge = frozenset({"shelf 1"}), frozenset({"fridge 1"})
    clean = {"cup 1": frozenset({"clean"})}
    assert conditions("pick_and_place_simple") == (0, 1)
    assert conditions("pick_and_place_simple", inside={"cup 2": shelf}) == (1, 1)
    kind = "pick_clean_then_place_in_recep"
    assert conditions(kind) == (0, 3)
    assert conditions(kind, inside={"cup 1": shelf}) == (1, 3)
    assert conditions(kind, states={"cup 1": frozenset({"hot"})}) == (0, 3)
    # one cup is clean and another one is in place
    assert conditions(kind, inside={"cup 2": shelf}, states=clean) == (2, 3)
    assert conditions(kind, inside={"cup 1": shelf}, states=clean) == (3, 3)
    kind = "pick_two_obj_and_place"
    assert conditions(kind, inside={"cup 1": shelf, "cup 2": fridge}) == (1, 2)
    assert conditions(kind, inside={"cup 1": shelf, "cup 2": shelf}) == (2, 2)
    kind = "look_at_obj_in_light"
    assert conditions(kind, hand="fork 1") == (0, 2)
    assert conditions(kind, hand="cup 2") == (1, 2)
    assert conditions(kind, hand="cup 2", toggled=frozenset({"shelf 1"})) == (2, 2)


def test_each_command_of_a_plan_shortens_it():
    now = scene("pick_clean_then_place_in_recep", hand="fork 1")
    left = way(now)
    while left:
        now = Scene(now.game, now.house, after(now.house, now.now, left[0]))
        assert len(way(now)) == len(left) - 1
        left = way(now)


def test_heating_ends_cool_and_closed_things_hide():
    house = scene("pick_and_place_simple").house
    now = Now("loc 4", "cup 1", {}, frozenset(), {"cup 1": frozenset({"cool", "clean"})})
    assert after(house, now, "heat cup 1 with microwave 1").states == {
        "cup 1": frozenset({"clean", "hot"})
    }
    closed = scene("pick_and_place_simple", location="loc 3")
    assert note(closed) == "You are at the fridge 1. You hold nothing. The fridge 1 is closed."
    assert remember(closed) == Memory()
    opened = scene("pick_and_place_simple", location="loc 3", open=frozenset({"fridge 1"}))
    assert remember(opened) == Memory((("cup 1", "fridge 1"),), ("fridge 1",))
    assert note(opened).endswith("The fridge 1 is open. The cup 1 is in the fridge 1.")


def test_what_was_seen_is_remembered_until_it_is_seen_gone():
    memory = Memory((("cup 1", "fridge 1"),), ("fridge 1",))
    away = scene("pick_and_place_simple", location="loc 2")
    away = Scene(away.game, away.house, away.now, memory)
    assert "The cup 1 is in the fridge 1." in note(away)
    assert "You have searched the fridge 1." in note(away)
    now = Now("loc 3", None, {}, frozenset({"fridge 1"}), {})
    gone = Scene(away.game, away.house, now, memory)
    assert remember(gone).seen == ()
    assert reply(gone, "open fridge 1") == (
        "You open the fridge 1. The fridge 1 is open. In it, you see nothing."
    )


def test_a_thought_says_what_is_known_and_nothing_of_what_is_hidden():
    new = scene("pick_heat_then_place_in_recep")
    known = Scene(new.game, new.house, new.now, Memory((("cup 1", "fridge 1"),), ("fridge 1",)))
    for place in ("fridge 1", "microwave 1"):
        assert thought(new, f"go to {place}") == (
            f"No cup to take was seen yet and the {place} may hold one, so I go to the {place}."
        )
    assert thought(known, "go to fridge 1") == (
        "The task needs the cup 1 and it is in the fridge 1, so I go to the fridge 1."
    )
    assert "but I go to the microwave 1" in thought(known, "go to microwave 1")
    held = scene("pick_heat_then_place_in_recep", hand="cup 1", inside={})
    assert thought(held, "go to microwave 1") == (
        "The cup 1 still has to be hot and the microwave 1 can heat it, so I go to the microwave 1."
    )
    assert thought(held, "dance") == "I dance."


def test_a_missing_folder_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    with pytest.raises(PgvError, match="set ALFWORLD_DATA"):
        AlfworldEnv()
    with pytest.raises(PgvError, match="does not exist"):
        AlfworldEnv(tmp_path / "nothing")
    with pytest.raises(PgvError, match="has no folder 'valid_unseen'"):
        find_games(tmp_path, "test")
    with pytest.raises(PgvError, match="has no tasks 'pick_up'"):
        AlfworldEnv(tmp_path, kinds=["pick_up"])
    with pytest.raises(PgvError, match="Split 'dev' has no games"):
        AlfworldEnv(tmp_path).task_ids("dev")
