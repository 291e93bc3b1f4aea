"""Avalon as an environment: what a seat may know, and the conventions of every task."""

import random

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request, ScriptedClient
from pgv_jax.tasks.avalon.belief import _allowed
from pgv_jax.tasks.avalon.env import AvalonEnv
from pgv_jax.tasks.avalon.players import Player
from pgv_jax.tasks.avalon.rules import Phase, knowledge
from pgv_jax.tasks.avalon.thoughts import thought
from pgv_jax.tasks.avalon.words import NAMES, actions, hear, note, understand, view_of
from pgv_jax.tasks.base import NOT_UNDERSTOOD, make_env
from pgv_jax.tasks.voice import voice_of
from pgv_jax.texts.templates import sentences

SETTINGS = [
    {"role": "merlin"},
    {"role": "any", "players": 6, "seat": 3},
    {"role": "percival", "players": 7, "percival": True, "morgana": True},
    {"role": "assassin", "players": 8, "talk": False},
    {"role": "minion", "players": 10, "percival": True},
]


def play(env, seed, skill=0.5, task=None):
    """Yield (observation, info, reward so far) of every state, the last one included."""
    rng = random.Random(seed)
    text, info = env.reset(seed=seed, options={"task": task or env.task_ids()[seed % 20]})
    total, over = 0.0, False
    yield text, info, total
    while not over:
        offered = info["admissible_actions"]
        action = env.expert_action() if rng.random() < skill else rng.choice(offered)
        text, reward, terminated, truncated, info = env.step(action)
        total, over = total + reward, terminated or truncated
        yield text, info, total


@pytest.mark.parametrize("given_settings", SETTINGS)
def test_games_end_and_the_score_says_who_won(given_settings):
    env, ends = AvalonEnv(**given_settings), set()
    for seed in range(12):
        *_, (text, info, total) = play(env, seed)
        game = env._table.game
        good = not game.roles[env.seat].evil
        assert game.phase is Phase.OVER and "The game is over." in text
        assert info["success"] == (game.won == good)
        assert info["score"] == pytest.approx(total)
        assert info["score"] == (1.0 if info["success"] else game.wins(good) / 6)
        assert info["admissible_actions"] == [] and env.expert_action() is None
        ends.add(info["success"])
    assert ends == {True, False}


@pytest.mark.parametrize("given_settings", SETTINGS)
def test_hidden_roles_change_nothing_that_the_seat_reads(given_settings):
    """Deal the hidden roles anew, as the seat's knowledge and the fail cards allow: same texts."""
    env, rng, changed = AvalonEnv(**given_settings), random.Random(7), 0
    for seed in range(4):
        for text, info, _ in play(env, seed):
            table, seat = env._table, env.seat
            view = view_of(table, seat)
            for _ in range(30):
                roles = list(table.game.roles)
                others = [s for s in range(len(roles)) if s != seat]
                mixed = rng.sample([roles[s] for s in others], len(others))
                for s, role in zip(others, mixed, strict=True):
                    roles[s] = role
                fails = [(q.fails, sum(roles[s].evil for s in q.team)) for q in table.game.quests]
                possible = all(seen <= evil for seen, evil in fails)
                if not possible or knowledge(roles, seat) != view.known:
                    continue
                other = table.copy()
                other.game.roles = tuple(roles)
                other.evidence._allowed, other.evidence._views = _allowed(tuple(roles)), None
                changed += tuple(roles) != table.game.roles
                seen = view_of(other, seat)
                assert seen == view and note(seen) == text
                assert sorted(actions(seen)) == info["admissible_actions"]
                for action in info["admissible_actions"]:
                    assert thought(seen, action) == env.thought_for(action)
                if other.asked:
                    same = [Player(1.0, random.Random(3))(t, seat) for t in (table, other)]
                    assert same[0] == same[1]
    assert changed > 20


def test_only_known_players_are_called_evil():
    for role, names_evil in (("merlin", 2), ("servant", 0), ("assassin", 1)):
        env = AvalonEnv(role=role)
        for text, *_ in play(env, 3):
            called = {s for s in sentences(text) if s.endswith(" is evil.") and " say" not in s}
            assert len(called) == names_evil, text
            roles = env._table.game.roles
            assert all(roles[NAMES.index(s.split()[0])].evil for s in called)


def test_percival_sees_two_and_one_alone_for_sure():
    both = AvalonEnv(7, "percival", percival=True, morgana=True).reset(seed=0)[0]
    assert sum(s.endswith(" may be Merlin.") for s in sentences(both)) == 2
    alone = AvalonEnv(7, "percival", percival=True).reset(seed=0)[0]
    assert sum(s.endswith(" is Merlin.") for s in sentences(alone)) == 1


@pytest.mark.parametrize("given_settings", SETTINGS)
def test_notes_are_distinct_sentences_and_thoughts_are_one(given_settings):
    env = AvalonEnv(**given_settings)
    for seed in range(3):
        for text, info, _ in play(env, seed):
            lines = sentences(text)
            assert " ".join(lines) == text and len(lines) == len(set(lines))
            for action in info["admissible_actions"]:
                reason = env.thought_for(action)
                assert sentences(reason) == [reason] and reason[0].isupper()


def test_offered_actions_are_understood_in_any_case_and_order():
    env = AvalonEnv(players=6)
    for text, info, _ in play(env, 1):
        view = view_of(env._table, env.seat)
        offered = actions(view)
        assert sorted(offered) == info["admissible_actions"]
        for action, meaning in offered.items():
            assert understand(view, f"  {action.upper()}. ") == meaning
        if view.phase is Phase.PROPOSE:
            assert understand(view, "propose Cleo, Bob and Ann"[: 99 if view.size == 3 else 17])
            assert understand(view, "propose Bob, Bob") is None
        assert understand(view, "propose Zoe") is None and NOT_UNDERSTOOD not in text


@pytest.mark.parametrize(
    "words, about, against",
    [
        ("I do not trust Dan.", 3, True),
        ("Dan seems fine to me", 3, False),
        ("let us think; eve is lying", 4, True),
        ("Ann is right but Bob is evil", 0, False),
        ("I like cheese", -1, False),
        ("Cleo here, hello", -1, False),  # one's own name is no claim
    ],
)
def test_free_remarks_are_heard(words, about, against):
    claim = hear(2, words, 5)
    assert (claim.about, claim.against, claim.words) == (about, against, words)


def test_what_the_agent_says_is_heard_and_remembered():
    env = AvalonEnv()
    text, info = env.reset(seed=0)
    while "say nothing" not in info["admissible_actions"]:
        text, *_, info = env.step(env.expert_action())
    text, *_, info = env.step("Say I do not trust Dan \u2013 he\u2019s evil")
    assert "You say: I do not trust Dan - he's evil" in text
    while "say nothing" not in info["admissible_actions"]:
        text, *_, info = env.step(env.expert_action())
    assert "You have spoken against Dan." in text


def test_restoring_a_snapshot_repeats_the_future():
    env = AvalonEnv()
    env.reset(seed=5)
    env.step(env.expert_action())
    here = env.snapshot()

    def future():
        seen = []
        while env.expert_action():
            seen.append(env.step(env.expert_action()))
        return seen

    first = future()
    assert len(first) > 3
    env.reset(seed=6)
    env.restore(here)
    assert future() == first


def test_the_seed_fixes_the_game_and_the_task_the_deal():
    env = AvalonEnv(role="any")
    runs = [[text for text, *_ in play(env, seed)] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]
    deals = set()
    for seed in range(8):
        env.reset(seed=seed, options={"task": env.task_ids("test")[0]})
        deals.add(env._table.game.roles)
    assert len(deals) == 1
    assert len({env.reset(seed=seed)[1]["task_id"] for seed in range(8)}) > 4
    assert not set(env.task_ids("train")) & set(env.task_ids("test"))


@pytest.mark.parametrize("given_settings", SETTINGS[:2])
def test_it_follows_gymnasium(given_settings):
    check_env(make_env("avalon", **given_settings), skip_render_check=True)


@settings(max_examples=80)
@given(actions=st.lists(st.text(max_size=30) | st.just("say ") | st.just("propose me"), max_size=6))
def test_any_action_is_survived(actions):
    env = AvalonEnv()
    before, _ = env.reset(seed=0)
    for action in [*actions, "   "]:
        after, *_, info = env.step(action)
        assert env.observation_space.contains(after)
        if after != before.removesuffix(f" {NOT_UNDERSTOOD}"):
            assert sentences(after) and info["admissible_actions"]
    assert after.endswith(NOT_UNDERSTOOD)


def test_what_is_not_understood_changes_nothing_and_runs_out_of_steps():
    env = AvalonEnv(max_steps=3)
    text, info = env.reset(seed=0)
    for left in (2, 1, 0):
        after, reward, terminated, truncated, later = env.step("dance")
        assert (after, reward, later) == (f"{text} {NOT_UNDERSTOOD}", 0, info)
        assert (terminated, truncated) == (False, left == 0)
    with pytest.raises(PgvError, match="over; call reset"):
        env.step("approve")


def test_the_oracle_prefers_what_wins():
    """On the last chance, a rejection loses at once and approval does not."""
    env = AvalonEnv(skill=0.9)
    for seed in range(60):
        for _, info, _ in play(env, seed, skill=0.0):
            if "approve" in info["admissible_actions"] and env._table.game.attempt == 4:
                copy = env.snapshot()
                good, bad, nonsense = env.preferences(["approve", "reject", "dance"])
                assert env.preferences(["approve"]) == [good] and nonsense == 0.0
                assert 0 <= bad <= good <= 1
                env.restore(copy)
                return
    raise AssertionError("no fifth proposal was met")


def test_a_model_can_play_the_others_and_sees_its_own_seat_only():
    asked = []

    def model(request, index):
        text = request.messages[-1]["content"]
        asked.append(text)
        offered = text.split("What you can do:\n")[1].splitlines()
        return f"I think about it.\nAction: {offered[request.seed % len(offered)]}"

    env = AvalonEnv(voice=voice_of(ScriptedClient(model), Request))
    runs = []
    for _ in range(2):
        asked.clear()
        runs.append([text for text, *_ in play(env, 2)])
        assert env.unreadable == 0 and len(asked) > 10
        merlins = [text for text in asked if "You are Merlin." in text]
        assert not merlins  # the agent is Merlin, and nobody else is asked as Merlin
        assert any("You are Assassin." in text for text in asked)
    assert runs[0] == runs[1]


def test_a_model_that_cannot_be_read_is_replaced_by_the_script():
    env = AvalonEnv(voice=voice_of(ScriptedClient(lambda request, index: "hm"), Request))
    *_, (_, info, _) = play(env, 2)
    assert env.unreadable > 5 and info["admissible_actions"] == []


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"role": "jester"}, "Role 'jester' is not in this game; use any or one of: merlin"),
        ({"role": "minion", "morgana": True}, "Role 'minion' is not in this game"),
        ({"seat": 5}, "Seat 5 is not one of the 5 seats"),
        ({"skill": 2.0}, "skill is 2.0; it is a share"),
        ({"players": 4}, "played by 5 to 10"),
    ],
)
def test_wrong_settings_are_sentences(wrong, message):
    with pytest.raises(PgvError, match=message):
        AvalonEnv(**wrong)
    with pytest.raises(PgvError, match="Split 'val' has no games"):
        AvalonEnv().task_ids("val")
    with pytest.raises(PgvError, match="call reset first"):
        AvalonEnv().expert_action()
