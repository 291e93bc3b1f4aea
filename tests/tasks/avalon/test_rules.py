"""The rules of Avalon: the published table, every forbidden move, and laws of random games."""

import os
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.tasks.avalon.game_table import new_table
from pgv_jax.tasks.avalon.players import Player, legal
from pgv_jax.tasks.avalon.rules import Game, Phase, Role, Setup, knowledge

GAMES = int(os.environ.get("PGV_AVALON_GAMES", "300"))
"""Random games of the property test; 10,000 take about a minute."""

PUBLISHED = {  # players: (good, evil, sizes of the five teams, fails that the fourth quest needs)
    5: (3, 2, (2, 3, 2, 3, 3), 1),
    6: (4, 2, (2, 3, 4, 3, 4), 1),
    7: (4, 3, (2, 3, 3, 4, 4), 2),
    8: (5, 3, (3, 4, 4, 5, 5), 2),
    9: (6, 3, (3, 4, 4, 5, 5), 2),
    10: (6, 4, (3, 4, 4, 5, 5), 2),
}

setups = st.builds(Setup, players=st.integers(5, 10), percival=st.booleans(), morgana=st.booleans())


@pytest.mark.parametrize("players", PUBLISHED)
def test_the_published_table(players):
    good, evil, sizes, fourth = PUBLISHED[players]
    for percival in (False, True):
        for morgana in (False, True):
            setup = Setup(players, percival, morgana)
            roles = Counter(setup.roles)
            assert sum(n for r, n in roles.items() if not r.evil) == good
            assert sum(n for r, n in roles.items() if r.evil) == evil
            assert roles[Role.MERLIN] == roles[Role.ASSASSIN] == 1
            assert (roles[Role.PERCIVAL], roles[Role.MORGANA]) == (percival, morgana)
    assert setup.sizes == sizes
    assert [setup.fails_needed(quest) for quest in range(5)] == [1, 1, 1, fourth, 1]


def started(players=5):
    setup = Setup(players)
    return Game(setup, setup.roles)  # seat 0 is Merlin, the last seats are evil


def quest(game, team, cards):
    game.propose(team)
    game.vote([True] * game.setup.players)
    game.play(cards)


def test_a_majority_is_more_than_half_and_the_lead_goes_round():
    game = started(6)
    game.propose((0, 1))
    game.vote([True] * 3 + [False] * 3)
    assert (game.phase, game.attempt, game.leader, game.quests) == (Phase.PROPOSE, 1, 1, [])
    game.propose((0, 1))
    game.vote([True] * 4 + [False] * 2)
    assert (game.phase, game.attempt, game.leader) == (Phase.QUEST, 0, 2)


def test_five_rejections_in_a_row_lose_and_an_approval_starts_the_count_anew():
    game = started()
    for _ in range(4):
        game.propose((0, 1))
        game.vote([False] * 5)
    quest(game, (0, 1), (True, True))
    for left in range(5, 0, -1):
        assert game.won is None and game.attempt == 5 - left
        game.propose((0, 1, 2))
        game.vote([False] * 5)
    assert (game.phase, game.won, len(game.proposals)) == (Phase.OVER, False, 10)


def test_two_fails_are_needed_on_the_fourth_quest_of_seven_or_more():
    for fails, success in ((1, True), (2, False)):
        game = started(7)
        for number, size in enumerate((2, 3, 3)):
            quest(game, range(size), [True] * size)
            if number == 1:
                break
        game.propose((0, 1, 6))
        game.vote([True] * 7)
        game.play((True, True, False))
        assert not game.quests[2].success
        quest(game, (0, 4, 5, 6), [True] * (4 - fails) + [False] * fails)
        assert game.quests[3] == ((0, 4, 5, 6), fails, success)
        assert game.phase is (Phase.ASSASSINATE if success else Phase.PROPOSE)


def test_three_failed_quests_lose():
    game = started()
    for size in (2, 3, 2):
        quest(game, (*range(size - 1), 4), [True] * (size - 1) + [False])
    assert (game.phase, game.won, game.named) == (Phase.OVER, False, None)


@pytest.mark.parametrize("target, good_wins", [(0, False), (1, True)])
def test_the_assassin_has_the_last_word(target, good_wins):
    game = started()
    for size in (2, 3, 2):
        quest(game, range(size), [True] * size)
    assert game.phase is Phase.ASSASSINATE and game.won is None
    game.assassinate(target)
    assert (game.phase, game.won, game.named) == (Phase.OVER, good_wins, target)


@pytest.mark.parametrize(
    "move, message",
    [
        (lambda g: g.propose((0,)), "A team of 2 different players is needed"),
        (lambda g: g.propose((1, 1)), "A team of 2 different players is needed"),
        (lambda g: g.propose((0, 5)), "names a seat that nobody has"),
        (lambda g: g.vote([True] * 5), "The game is at 'propose'; 'vote' is not possible"),
        (lambda g: (g.propose((0, 1)), g.vote([True] * 4)), "4 votes were cast by 5 players"),
        (lambda g: quest(g, (0, 1), (False, True)), "Player 0 is good and cannot play a fail"),
        (lambda g: quest(g, (0, 1), (True,)), "1 cards were played by a team of 2"),
        (lambda g: g.assassinate(0), "'assassinate' is not possible now"),
        (lambda g: Game(g.setup, g.roles[:4]), "not those of the setup"),
        (lambda g: Setup(11), "played by 5 to 10; 11 players"),
    ],
)
def test_forbidden_moves_are_sentences(move, message):
    with pytest.raises(PgvError, match=message):
        move(started())


def test_the_assassin_names_no_friend():
    game = started()
    for size in (2, 3, 2):
        quest(game, range(size), [True] * size)
    with pytest.raises(PgvError, match="the assassin names a good player"):
        game.assassinate(4)


@given(setup=setups, seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_roles_know_what_the_rules_show_them(setup, seed):
    roles = setup.deal(random.Random(seed))
    assert sorted(roles) == sorted(setup.roles)
    evil = {seat for seat, role in enumerate(roles) if role.evil}
    for seat, role in enumerate(roles):
        known = knowledge(roles, seat)
        assert set(known.evil) == (evil - {seat} if role.evil or role is Role.MERLIN else set())
        shown = {s for s, r in enumerate(roles) if r in (Role.MERLIN, Role.MORGANA)}
        assert set(known.maybe_merlin) == (shown if role is Role.PERCIVAL else set())


def check_laws(game):
    """The laws of a finished game, worked out anew from its record."""
    good, evil, sizes, fourth = PUBLISHED[game.setup.players]
    players, quests, row, leader = good + evil, 0, 0, game.proposals[0].leader
    assert sum(role.evil for role in game.roles) == evil
    for proposal in game.proposals:
        assert (proposal.quest, proposal.attempt) == (quests, row)
        assert proposal.leader == leader and len(proposal.votes) == players
        assert len(set(proposal.team)) == len(proposal.team) == sizes[quests]
        assert proposal.approved == (sum(proposal.votes) > players / 2)
        leader = (leader + 1) % players
        row = 0 if proposal.approved else row + 1
        if proposal.approved:
            done = game.quests[quests]
            assert done.team == proposal.team
            assert 0 <= done.fails <= sum(game.roles[seat].evil for seat in done.team)
            assert done.success == (done.fails < (fourth if quests == 3 else 1))
            quests += 1
        assert row < 5 or proposal is game.proposals[-1]
    wins = Counter(quest.success for quest in game.quests)
    assert quests == len(game.quests) <= 5 and max(wins[True], wins[False]) <= 3
    assert game.phase is Phase.OVER
    if row == 5:
        assert game.won is False and game.named is None and max(wins.values(), default=0) < 3
    elif wins[False] == 3:
        assert game.won is False and game.named is None
    else:
        assert wins[True] == 3 and not game.roles[game.named].evil
        assert game.won == (game.roles[game.named] is not Role.MERLIN)


@given(
    setup=setups,
    seed=st.integers(0, 2**63),
    skill=st.sampled_from([0.0, 0.5, 1.0]),
    talk=st.booleans(),
)
@settings(max_examples=GAMES)
def test_random_games_never_break_a_law(setup, seed, skill, talk):
    rng = random.Random(seed)
    table = new_table(setup, rng, talk)
    player, answers = Player(skill, rng), 0
    while table.asked:
        seat = rng.choice(table.asked)
        answer = player(table, seat)
        assert answer in legal(table, seat)
        table.answer(seat, answer)
        answers += 1
    assert answers < 25 * (1 + 2 * setup.players) + 5 * 5 + 2
    check_laws(table.game)


def test_players_of_more_skill_win_more_often():
    """Good of skill against evil without, and the reverse: far apart on 200 games each."""

    def good_wins(good, evil):
        rng, won = random.Random(1), 0
        for _ in range(200):
            table = new_table(Setup(5), rng)
            by = [Player(evil if role.evil else good, rng) for role in table.game.roles]
            while table.asked:
                seat = table.asked[0]
                table.answer(seat, by[seat](table, seat))
            won += bool(table.game.won)
        return won

    assert good_wins(0.9, 0.0) > good_wins(0.0, 0.9) + 60
