"""Persuasion as an environment: the scripted persuadee's laws, models, and every task's rules."""

import random

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request, ScriptedClient
from pgv_jax.tasks.base import NOT_UNDERSTOOD, make_env
from pgv_jax.tasks.persuasion.env import PersuasionEnv
from pgv_jax.tasks.persuasion.moves import APPEALS, DONE, END, kind_of, sayings
from pgv_jax.tasks.persuasion.persuadee import (
    WORRIES,
    Mind,
    Persona,
    ScriptedPartner,
    dollars,
    gift,
    react,
)
from pgv_jax.tasks.persuasion.words import CONCERNS, DEEDS
from pgv_jax.tasks.voice import plain, voice_of
from pgv_jax.texts.sentences import sentences

MOVES = sayings("moves")
personas = st.integers(0, 500).map(lambda i: Persona.draw(f"p{i}"))
talks = st.lists(st.sampled_from(sorted(MOVES)), max_size=10)


def play(env, seed, skill=0.5):
    """Yield (note, info) of every state, the last one included."""
    rng = random.Random(seed)
    text, info = env.reset(seed=seed)
    over = False
    yield text, info
    while not over:
        offered = info["admissible_actions"]
        action = env.expert_action() if rng.random() < skill else rng.choice(offered)
        text, reward, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        assert reward == (info["score"] if over else 0)
        yield text, info


def mind_after(persona, moves):
    mind = Mind()
    for move in moves:
        mind = react(persona, mind, move)
    return mind


def test_every_kind_has_words_a_deed_and_an_answer():
    assert set(MOVES) == set(DONE) == set(DEEDS)
    acts = set(sayings("replies"))
    assert {f"worry-{kind}" for kind in WORRIES} == set(CONCERNS) <= acts
    for name in ("moves", "replies"):
        assert all(len(set(lines)) == len(lines) >= 1 for lines in sayings(name).values())


@pytest.mark.parametrize(
    "remark, kind",
    [(line, kind) for kind, lines in MOVES.items() for line in lines]
    + [
        ("hello, how are you?", "chat"),
        ("Would you like to donate?", "ask"),
        ("92 percent of every dollar goes to programs, a study found", "facts"),
        ("I donate to them myself every month.", "example"),
        ("When I was a child we had nothing.", "story"),
        ("xyzzy", "chat"),
    ],
)
def test_remarks_are_told_apart(remark, kind):
    assert kind_of(remark) == kind


def test_shipped_words_would_be_told_apart_without_their_list(monkeypatch):
    monkeypatch.setattr("pgv_jax.tasks.persuasion.moves.sayings", lambda name: {})
    for kind, lines in MOVES.items():
        assert {kind_of.__wrapped__(line) for line in lines} == {kind}


@given(persona=personas, moves=talks)
@settings(max_examples=200)
def test_laws_of_the_scripted_persuadee(persona, moves):
    mind = mind_after(persona, moves)
    assert mind == mind_after(persona, moves)
    assert -0.5 <= mind.will <= 1 and 0 <= mind.warmth <= 1
    assert mind.heard == tuple(moves)
    assert mind.asked == bool({"ask", "small"} & set(moves))
    assert 0 <= gift(persona, mind) <= (2.0 if mind.asked else 1.0)
    assert round(10 * gift(persona, mind), 6) % 1 == 0
    assert ("leaves" in mind.acts) == (mind.strain > persona.patience)
    assert (mind.worry == "settled") <= (persona.worry in moves)


@given(persona=personas, moves=talks)
@settings(max_examples=100)
def test_pressure_never_helps_and_repeating_never_helps_more(persona, moves):
    mind = mind_after(persona, moves)
    assert react(persona, mind, "pressure").will < max(mind.will, -0.5 + 1e-9)
    for appeal in APPEALS:
        once = react(persona, mind, appeal)
        if mind.worry == once.worry and persona.taste[appeal] > 0:
            twice = react(persona, once, appeal)
            if once.worry == twice.worry:
                assert twice.will - once.will <= once.will - mind.will + 1e-9


def test_personas_differ_by_task_in_taste_and_worry():
    drawn = [Persona.draw(f"persuadee-train-{i:04d}") for i in range(60)]
    best = {max(p.taste, key=p.taste.get) for p in drawn}
    worst = {min(p.taste, key=p.taste.get) for p in drawn}
    assert best == worst == set(APPEALS) and {p.worry for p in drawn} == set(WORRIES)
    assert all(min(p.taste.values()) < 0 < 0.2 < max(p.taste.values()) for p in drawn)


def test_talks_end_in_ten_rounds_with_a_donation():
    env, donations = PersuasionEnv(), set()
    for seed in range(40):
        *states, (text, info) = play(env, seed, skill=0.6)
        assert len(states) <= 10 and "The talk is over." in text
        assert info["admissible_actions"] == [] and env.expert_action() is None
        assert info["success"] == (info["score"] > 0) and 0 <= info["score"] <= 1
        assert "$" not in text and "donated" not in text  # the note does not tell the outcome
        donations.add(info["score"])
        assert {info["score"] for _, info in states} == {0.0}
    assert len(donations) > 8 and 0.0 in donations


def test_skill_pays():
    def mean(skill):
        env = PersuasionEnv()
        return sum([*play(env, seed, skill)][-1][1]["score"] for seed in range(60)) / 60

    low, high = mean(0.0), mean(0.8)
    assert high > low + 0.2


def test_the_persuadee_can_leave_and_the_persuader_can_stop():
    env = PersuasionEnv()
    env.reset(seed=1)
    for said in range(1, 11):
        text, _, terminated, _, info = env.step(f"You should be ashamed, number {said}.")
        if terminated:
            break
    assert said < 6 and info["score"] == 0
    env.reset(seed=1)
    text, _, terminated, truncated, info = env.step(f"  {END.upper()}. ")
    assert terminated and not truncated and "The talk is over." in text


def test_notes_are_distinct_sentences_and_thoughts_are_one():
    env = PersuasionEnv()
    for seed in range(8):
        for text, info in play(env, seed):
            lines = sentences(text)
            assert " ".join(lines) == text and len(lines) == len(set(lines))
            for action in info["admissible_actions"]:
                thought = env.thought_for(action)
                assert sentences(thought) == [thought], thought


def test_thoughts_know_no_more_than_the_talk():
    """Two personas that have answered in the same words are given the same reasons."""
    one, two = PersuasionEnv(), PersuasionEnv()
    one.reset(seed=0, options={"task": one.task_ids()[0]})
    two.reset(seed=0, options={"task": two.task_ids()[1]})
    two._moment = one._moment
    for action in one.admissible_actions():
        assert one.thought_for(action) == two.thought_for(action)
    assert one.preferences(one.admissible_actions()) != two.preferences(one.admissible_actions())


def test_the_oracle_is_right_about_the_next_remark():
    env = PersuasionEnv()
    for seed in range(6):
        for _, info in play(env, seed):
            for action in info["admissible_actions"]:
                partner, moment = env._here()
                before, here = partner.mind(moment.talk).will, env.snapshot()
                expected = env.correct(action)
                env.step(action)
                partner, moment = env._here()
                assert expected == (partner.mind(moment.talk).will > before)
                env.restore(here)


def test_the_seed_fixes_the_words_and_the_task_the_persona():
    env = PersuasionEnv()
    runs = [[text for text, _ in play(env, seed)] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]
    assert len({env.reset(seed=seed)[1]["task_id"] for seed in range(8)}) > 4
    assert not set(env.task_ids("train")) & set(env.task_ids("test"))


def test_restoring_a_snapshot_repeats_the_future():
    env = PersuasionEnv()
    env.reset(seed=2)
    env.step(env.admissible_actions()[0])
    here = env.snapshot()
    first = [env.step(action) for action in env.admissible_actions()[2:5]]
    env.reset(seed=9)
    env.restore(here)
    assert [env.step(action) for action in env.admissible_actions()[2:5]] == first


def test_it_follows_gymnasium():
    check_env(make_env("persuasion"), skip_render_check=True)


@settings(max_examples=100)
@given(actions=st.lists(st.text(max_size=40), max_size=8))
def test_any_action_is_survived(actions):
    env = PersuasionEnv(offer=False)
    env.reset(seed=0)
    for action in actions:
        text, _, terminated, truncated, info = env.step(action)
        assert sentences(text) and env.observation_space.contains(text)
        assert info["admissible_actions"] == []
        assert text.endswith(NOT_UNDERSTOOD) == (plain(action) == "")
        if terminated or truncated:
            return


def test_an_empty_remark_changes_nothing_and_silence_is_truncated():
    env = PersuasionEnv(rounds=2)
    text, info = env.reset(seed=0)
    for left in (3, 2, 1, 0):
        after, reward, terminated, truncated, later = env.step(" \n ")
        assert (after, reward, later) == (f"{text} {NOT_UNDERSTOOD}", 0, info)
        assert (terminated, truncated) == (False, left == 0)
    with pytest.raises(PgvError, match="over; call reset"):
        env.step("hello")


@pytest.mark.parametrize(
    "text, amount",
    [
        ("Donation: $1.50", 1.5),
        ("I think...\n**donation**: 0.5 dollars", 0.5),
        ("I give $2", 2.0),
        ("Donation: $0.00", 0.0),
        ("Donation: $20", None),
        ("Donation: none", None),
        ("", None),
    ],
)
def test_donations_are_read(text, amount):
    assert dollars(text) == amount


def test_a_model_can_be_the_persuadee():
    seen = []

    def model(request, index):
        seen.append(request)
        last = request.messages[-1]["content"]
        return "Donation: $0.80" if "The talk is over" in last else "I\u2019m not sure \u2014 why?"

    env = PersuasionEnv(rounds=3, voice=voice_of(ScriptedClient(model), Request))
    text, info = env.reset(seed=0)
    for said in ("Hello!", "Children need help.", "Would you give?"):
        text, reward, terminated, _, info = env.step(said)
    assert terminated and info["score"] == reward == pytest.approx(0.4) and info["success"]
    assert "They say: I'm not sure - why?" in text
    assert "at most 3 rounds" in seen[0].messages[0]["content"] and len(seen) == 4
    assert [m["role"] for m in seen[2].messages] == ["system", *["assistant", "user"] * 3]
    assert "Children need help." in [m["content"] for m in seen[2].messages]
    assert env.expert_action() is None and env.preferences(["x"]) is None
    assert env.correct("x") is None and env.unreadable == 0


def test_a_donation_that_cannot_be_read_is_none_and_counted():
    env = PersuasionEnv(voice=voice_of(ScriptedClient(lambda request, index: "hm"), Request))
    env.reset(seed=0)
    _, _, terminated, _, info = env.step(END)
    assert terminated and info["score"] == 0 and env.unreadable == 1


def test_a_users_prompt_comes_first_and_a_broken_one_is_a_sentence(tmp_path):
    heard = []

    def voice(messages, seed):
        heard.append(messages[0]["content"])
        return "Donation: $1"

    (tmp_path / "persuadee.txt").write_text("You are Scrooge for $rounds rounds.")
    env = PersuasionEnv(voice=voice, prompts=tmp_path)
    env.reset(seed=0)
    env.step("Hello")
    assert heard == ["You are Scrooge for 10 rounds."]
    (tmp_path / "persuadee.txt").write_text("You have $2.")
    with pytest.raises(PgvError, match=r"persuadee.txt cannot be filled in .* \$\$ for a dollar"):
        env.reset(seed=0)


def test_wrong_settings_are_sentences():
    with pytest.raises(PgvError, match="0 rounds was asked for"):
        PersuasionEnv(rounds=0)
    env = PersuasionEnv()
    with pytest.raises(PgvError, match="Split 'val' has no talks"):
        env.task_ids("val")
    with pytest.raises(PgvError, match="call reset first"):
        env.step("hello")
    with pytest.raises(PgvError, match="not one of the 600 tasks"):
        env.reset(options={"task": "Bob"})


def test_the_scripted_persuadee_greets_sceptically():
    greetings = {ScriptedPartner("p", seed).greet().text for seed in range(20)}
    assert greetings == set(sayings("replies")["hello"])
