"""Targets by hand: means over visits, discounts, pairs, labels and backups."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.objectives.agent_prm import AgentPRM
from pgv_jax.objectives.inverse_prm import InversePRM
from pgv_jax.objectives.lookahead import Lookahead
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Candidate, Episode, Step


def agent_prm(episodes, history, **options):
    return AgentPRM(**options).targets(episodes, history)


def inverse_prm(episodes, history, **options):
    return InversePRM(**options).targets(episodes, history)


def lookahead(episodes, history, **options):
    return Lookahead(**options).targets(episodes, history)


def episode(name, moves, success, score=None, terminal=True, **metadata):
    """Moves are (room, thought); the note of the end is "You are out."."""
    steps = tuple(Step(f"You are in {room}.", thought, thought) for room, thought in moves)
    return Episode(
        name,
        "t",
        "Leave.",
        steps,
        "You are out.",
        success=success,
        score=score,
        is_terminal=terminal,
        metadata=metadata,
    )


WON = episode("won", [("hall", "go"), ("yard", "go")], True)
LOST = episode("lost", [("hall", "go"), ("yard", "stay"), ("yard", "stay")], False)


def told(examples):
    return [(e.step, e.thought, e.target, e.value) for e in examples]


def test_a_target_is_the_mean_over_the_visits_of_the_same_state_and_action():
    won, lost = agent_prm([WON, LOST], 0, gamma=0.5, by_candidates=False)
    # (1 + gamma^k R) / 2 with k steps left: won .75 and 1, lost 1 - .5 - .125 = .375, .25 and 0.
    hall = (0.75 + 0.375) / 2
    yard = (1.0 + 0.25 + 0.0) / 3
    assert told(won) == [(0, "go", hall, hall), (1, "go", 1.0, yard)]
    stay = (0.25 + 0.0) / 2
    assert told(lost) == [(0, "go", hall, hall), (1, "stay", stay, yard), (2, "stay", stay, yard)]
    assert {e.goal for e in won + lost} == {SUCCESS}


def reworded(*episodes):
    """The same moves, each thought in words of its own."""
    return [
        replace(
            e,
            steps=tuple(
                replace(s, thought=f"{s.thought}, I think ({number}.{t}).")
                for t, s in enumerate(e.steps)
            ),
        )
        for number, e in enumerate(episodes)
    ]


def test_visits_of_one_action_are_averaged_however_the_thought_is_worded():
    worded = reworded(WON, LOST)
    plain = agent_prm([WON, LOST], 0, gamma=0.5, by_candidates=False)
    made = agent_prm(worded, 0, gamma=0.5, by_candidates=False)
    values = [[(e.step, e.target, e.value) for e in part] for part in plain]
    assert [[(e.step, e.target, e.value) for e in part] for part in made] == values
    assert [e.thought for e in made[0]] == [s.thought for s in worded[0].steps]
    # Keyed by the thought as well, no mean is left: each visit has its own return.
    alone = agent_prm(worded, 0, gamma=0.5, by_candidates=False, by_thought=True)
    assert [[e.target for e in part] for part in alone] == [[0.75, 1.0], [0.375, 0.25, 0.0]]


def test_candidates_that_do_the_same_are_one_state_however_they_are_worded():
    def offered(episode, word):
        steps = [
            replace(
                s, candidates=(Candidate(f"{word} I go", "go"), Candidate(f"{word} no", "stay"))
            )
            for s in episode.steps
        ]
        return replace(episode, steps=tuple(steps))

    _, lost = agent_prm([offered(WON, "now"), offered(LOST, "then")], 0, gamma=0.5)
    assert lost[0].target == (0.75 + 0.375) / 2
    _, lost = agent_prm([offered(WON, "now"), offered(LOST, "then")], 0, gamma=0.5, by_thought=True)
    assert lost[0].target == 0.375


def test_where_no_action_was_logged_the_thought_tells_them_apart():
    bare = [replace(e, steps=tuple(replace(s, action="") for s in e.steps)) for e in (WON, LOST)]
    assert agent_prm(bare, 0, gamma=0.5) == agent_prm([WON, LOST], 0, gamma=0.5)


def test_from_start_discounts_by_the_steps_that_are_done():
    won, lost = agent_prm([WON, LOST], 0, gamma=0.5, discount="from_start", by_candidates=False)
    assert [e.target for e in won] == [(1.0 + 0.0) / 2, 0.75]
    assert [e.target for e in lost] == [0.5, (0.25 + 0.375) / 2, (0.25 + 0.375) / 2]


def test_the_score_counts_where_there_is_one_and_an_unknown_outcome_teaches_nothing():
    half = replace(WON, score=0.75, success=False)
    unknown = replace(WON, success=None)
    assert [e.target for e in agent_prm([half], 0, gamma=1.0)[0]] == [0.75, 0.75]
    assert agent_prm([unknown], 0, gamma=1.0) == [[]]


def test_the_same_note_under_other_candidates_history_or_task_is_another_state():
    offered = replace(
        LOST, steps=tuple(replace(s, candidates=(Candidate("wait"),)) for s in LOST.steps)
    )
    other_task = replace(LOST, task="Wait.")
    alone = [1 - (1 + 0.5**k) / 2 for k in (2, 1, 0)]
    for second in (offered, other_task):
        _, lost = agent_prm([WON, second], 0, gamma=0.5)
        assert lost[0].target == alone[0]
    assert agent_prm([WON, offered], 0, gamma=0.5, by_candidates=False)[1][0].target > alone[0]
    _, lost = agent_prm([WON, LOST], 3, gamma=0.5)  # with history the second stay differs
    assert [e.target for e in lost[1:]] == alone[1:]


def test_pairs_are_of_one_state_the_better_first_and_differ_by_more_than_the_margin():
    options = {"gamma": 0.5, "by_candidates": False, "form": "pairs"}
    won, lost = agent_prm([WON, LOST], 0, **options)
    assert lost == []
    (pair,) = won
    assert (pair.step, pair.thought, pair.other, pair.target) == (1, "go", "stay", 1.0 - 0.125)
    with pytest.raises(PgvError, match=r"by more than 0\.9, so there are no pairs"):
        agent_prm([WON, LOST], 0, **options, margin=0.9)


def test_equal_actions_are_no_pair_however_the_thought_is_worded():
    worded = reworded(WON, LOST)
    won, lost = agent_prm(worded, 0, gamma=0.5, by_candidates=False, form="pairs")
    assert lost == []
    (pair,) = won  # go against stay, in the words in which each was first thought there
    assert (pair.step, pair.target) == (1, 1.0 - 0.125)
    assert (pair.thought, pair.other) == (worded[0].steps[1].thought, worded[1].steps[1].thought)


def test_hindsight_goals_are_worth_gamma_to_the_steps_until_they_hold():
    walk = episode("walk", [("hall", "go"), ("yard", "go"), ("road", "go")], None)
    made = agent_prm([walk], 0, gamma=0.5, hindsight=8)[0]
    rooms = ["You are in hall.", "You are in yard.", "You are in road.", "You are out."]
    assert {e.goal for e in made} <= set(rooms) and len(made) > 8
    for e in made:
        ahead = rooms.index(e.goal) - e.step - 1
        assert e.target == (0.5**ahead if ahead >= 0 else 0.0) == e.value
    assert {e.target for e in made} >= {0.0, 0.5, 1.0}


def test_hindsight_goals_are_averaged_over_the_visits_however_the_thought_is_worded():
    """From the hall "go" leads one walk into the yard and the other to the road."""
    walks = [episode(room, [("hall", "go"), (room, "go")], None) for room in ("yard", "road")]
    made = agent_prm(reworded(*walks), 0, gamma=0.5, hindsight=20)
    asked = [[e for e in m if (e.step, e.goal) == (0, "You are in yard.")] for m in made]
    yes, no = map(len, asked)  # visits that drew it: true at once, or never
    assert yes > 0 and no > 0
    share = yes / (yes + no)
    assert {(e.target, e.value) for e in asked[0] + asked[1]} == {(share, share)}


def test_labels_of_experts_and_others_and_what_follows():
    expert = replace(WON, metadata={"expert": True})
    cut = replace(LOST, is_terminal=False)
    ours, theirs = inverse_prm([expert, cut], 0, next_thought="logged")
    assert [(e.target, e.group, e.other) for e in ours] == [(1, 0, "go"), (1, 0, None)]
    # The log was cut: what would have followed its last step is not known.
    assert [(e.target, e.group, e.other) for e in theirs] == [(0, 1, "stay"), (0, 1, "stay")]


def test_after_an_experts_step_the_policy_thinks():
    steps = (WON.steps[0], replace(WON.steps[1], metadata={"policy_thought": "stay"}))
    expert = replace(WON, steps=steps, metadata={"expert": True})
    ours, theirs = inverse_prm([expert, LOST], 0)
    assert [e.other for e in ours] == ["stay", None]
    assert [e.other for e in theirs] == ["stay", "stay", None]
    with pytest.raises(PgvError, match=r"has no metadata\.policy_thought"):
        inverse_prm([replace(WON, metadata={"expert": True}), LOST], 0)


@pytest.mark.parametrize(("expert", "who"), [(True, "policy"), (False, "expert")])
def test_one_side_alone_is_no_comparison(expert, who):
    with pytest.raises(PgvError, match=f"no episode is the {who}'s"):
        inverse_prm([replace(WON, metadata={"expert": expert})], 0, next_thought="logged")


def test_a_backup_is_gamma_times_the_best_successor():
    candidates = (
        Candidate("go", "go", {SUCCESS: 0.8, "You are in hall.": 0.2}),
        Candidate("stay", "stay", {SUCCESS: 0.4, "You are in hall.": 0.6}),
    )
    step = replace(WON.steps[0], candidates=candidates, metadata={"expanded": True})
    made = lookahead([replace(WON, steps=(step, WON.steps[1]), success=None)], 0, gamma=0.5)[0]
    assert [(e.step, e.thought, e.goal, e.target, e.value) for e in made] == [
        (0, "go", SUCCESS, 0.4, 0.4),
        (0, "stay", SUCCESS, 0.2, 0.4),
        (0, "go", "You are in hall.", 0.1, 1.0),  # it holds in the note already
        (0, "stay", "You are in hall.", 0.3, 1.0),
    ]


def test_data_without_a_search_or_with_broken_values_is_refused():
    with pytest.raises(PgvError, match="expanded by a search"):
        lookahead([WON], 0, gamma=0.9)
    broken = Step("n", "t", "a", candidates=(Candidate("t", "a", {SUCCESS: math.nan}),))
    broken = replace(broken, metadata={"expanded": True})
    with pytest.raises(PgvError, match="not finite"):
        lookahead([replace(WON, steps=(broken,))], 0, gamma=0.9)


def test_only_agent_prm_reads_outcomes():
    kinds = (AgentPRM, InversePRM, Lookahead)
    assert [kind for kind in kinds if kind.reads_outcome] == [AgentPRM]
    steps = (WON.steps[0], replace(WON.steps[1], metadata={"policy_thought": "stay"}))
    judged = [replace(WON, steps=steps, metadata={"expert": True}), LOST]
    bare = [replace(episode, success=None) for episode in judged]
    # As words: a NaN, which says that there is no value, is not equal to itself.
    assert repr(inverse_prm(bare, 0)) == repr(inverse_prm(judged, 0))
