import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.agents.propose import (
    MOST_ACTIONS,
    Choice,
    Turn,
    build_messages,
    distinct,
    parse_answer,
    proposal_counts,
    propose,
    request_seed,
    system_prompt,
)
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import ClientError, Completion, ScriptedClient, schema_of
from pgv_jax.types import Candidate

KNOWN = ["go north", "open fridge", "take carrot from fridge", "take carrot"]


@pytest.mark.parametrize(
    "text",
    [
        "Thought: I am hungry.\nAction: open fridge",
        "thought:I am hungry.\n\naction:   open fridge\n",
        "**Thought:** I am hungry.\n**Action:** `open fridge`",
        "**Thought**: I am hungry.\n**Action**: open fridge.",
        "I am hungry.\nAction: Open Fridge",
        "## Thought: I am hungry.\n## Action: 'open fridge'",
        "> Thought: I am\n> hungry.\nAction: open fridge\nThought: what next?\nAction: go north",
        "```\nThought: I am hungry.\nAction: open fridge\n```",
        '{"thought": "I am hungry.", "action": "open fridge"}',
        'Sure!\n```json\n{"Thought": "I am hungry.", "Action": "open fridge"}\n```',
        "Thought 1: I am hungry.\nAction 1: open fridge\nObservation 1: It is open.",
        "Action: open fridge\nThought: I am hungry.",
        "- Thought: I am hungry.\n- Action: open fridge",
    ],
)
def test_the_usual_spellings_of_an_answer_are_read_alike(text):
    read = parse_answer(text, KNOWN)
    assert read.action == "open fridge"
    assert read.thought.replace("> ", "") == "I am hungry."


@pytest.mark.parametrize(
    "text",
    [
        '{"thought": "I must not open fridge.", "action": null}',
        '{"thought": "I must not open fridge.", "action": "take car',
        '```json\n{"thought": "I could go north"\n```',
    ],
)
def test_json_without_a_whole_action_has_none(text):
    assert parse_answer(text, KNOWN).action == ""


def test_half_a_character_that_json_spells_is_replaced():
    read = parse_answer('{"thought": "a \\ud800 b", "action": "go \\udc00"}')
    assert read == Candidate("a \ufffd b", "go \ufffd")


def test_a_missing_label_falls_back_on_the_action_that_is_mentioned():
    read = parse_answer("I will now take carrot from fridge because I can.", KNOWN)
    assert read == Candidate(
        "I will now take carrot from fridge because I can.", "take carrot from fridge"
    )
    assert parse_answer("I wonder.", KNOWN) == Candidate("I wonder.", "")
    assert parse_answer("Shall I go north, or open fridge?", KNOWN).action == ""
    assert parse_answer("Thought: Hm.\nAction:", KNOWN) == Candidate("Hm.", "")
    assert parse_answer("Action: go north", KNOWN).thought == "go north"


def test_an_action_that_is_not_offered_is_left_as_it_is():
    assert parse_answer("Thought: So.\nAction: Fly to the Moon", KNOWN).action == "Fly to the Moon"
    assert parse_answer("Thought: So.\nAction: search[Moon]").action == "search[Moon]"


@given(st.text(), st.lists(st.text(min_size=1), max_size=3))
def test_no_answer_is_an_exception(text, known):
    read = parse_answer(text, known)
    assert "\n" not in read.thought and "\n" not in read.action


WORDS = st.text("abcdefgh ", min_size=1).map(lambda s: " ".join(s.split())).filter(bool)


@given(WORDS, WORDS)
def test_a_plain_answer_is_read_back(thought, action):
    assert parse_answer(f"Thought: {thought}\nAction: {action}") == Candidate(thought, action)


def test_messages_hold_task_note_past_and_actions():
    system, user = build_messages(
        "Eat.", "You are in.", KNOWN, past=[Turn("It is dark.", "light lamp")]
    )
    assert system == {"role": "system", "content": system_prompt()}
    assert user["content"] == (
        "Task: Eat.\n\nWhat happened before:\nObservation: It is dark.\nAction: light lamp\n\n"
        "What you know now:\nYou are in.\n\nPossible actions:\n- go north\n- open fridge\n"
        "- take carrot from fridge\n- take carrot"
    )
    assert "Possible" not in build_messages("Eat.", "You are in.")[1]["content"]


def test_the_seed_of_a_request_depends_on_each_part():
    seeds = {
        request_seed(0, "a", 0, "x"),
        request_seed(1, "a", 0, "x"),
        request_seed(0, "b", 0, "x"),
        request_seed(0, "a", 1, "x"),
        request_seed(0, "a", 0, "y"),
    }
    assert len(seeds) == 5 and all(0 <= seed < 2**31 for seed in seeds)
    assert request_seed(0, "a", 0, "x") in seeds


def test_proposals_without_an_action_come_last():
    pairs = [("a", ""), ("b", "wait"), ("c", ""), ("d", "go left"), ("e", "wait"), ("a", "")]
    found = distinct([Candidate(thought, action) for thought, action in pairs])
    assert [(c.thought, c.action) for c in found] == [
        ("b", "wait"),
        ("d", "go left"),
        ("a", ""),
        ("c", ""),
    ]


def test_proposals_of_little_use_are_counted():
    actions = ["", "wait", "dance", "wait", "", "dance", "go left"]
    answers = [Candidate("x", action) for action in actions]
    counts = {"read": 7, "unusable": 2, "inadmissible": 2, "repeated": 2}
    assert proposal_counts(answers, ["wait", "go left"]) == counts
    assert proposal_counts(answers) == {**counts, "inadmissible": 0}  # nothing is known of them
    assert proposal_counts([]) == {"read": 0, "unusable": 0, "inadmissible": 0, "repeated": 0}


def test_candidates_are_distinct_by_action_in_first_order():
    pairs = [("a", "x"), ("b", "y"), ("c", "x"), ("d", ""), ("d", ""), ("e", "")]
    found = distinct([Candidate(thought, action) for thought, action in pairs])
    assert [c.thought for c in found] == ["a", "b", "d", "e"]


def test_propose_asks_once_for_all_samples():
    asked = []

    def policy(request, index):
        asked.append((request.n, request.seed, index))
        return f"Thought: {index}\nAction: {KNOWN[index]}"

    proposal = asyncio.run(propose(ScriptedClient(policy), "t", "o", KNOWN, n=3, seed=5))
    assert asked == [(3, 5, 0), (3, 5, 1), (3, 5, 2)]
    assert [c.action for c in proposal.candidates] == KNOWN[:3]
    assert not proposal.error


class Failing:
    model = "failing"

    def __init__(self, kind, completions=None):
        self.failure = ClientError(kind, f"It is {kind}.", completions)

    async def complete(self, request):
        raise self.failure


def test_a_refusal_costs_the_step_and_keeps_what_was_paid():
    silent = asyncio.run(propose(Failing("refusal"), "t", "o", n=2, seed=0))
    assert silent.candidates == (Candidate(""),) and silent.error == "It is refusal."
    paid = {1: Completion("Thought: T\nAction: go north", prompt_tokens=7)}
    partly = asyncio.run(propose(Failing("context", paid), "t", "o", n=2, seed=0))
    assert partly.candidates == (Candidate("T", "go north"),)
    assert partly.completions[0].prompt_tokens == 7


@pytest.mark.parametrize("kind", ["key", "budget", "exhausted"])
def test_failures_that_would_come_again_or_may_pass_are_raised(kind):
    with pytest.raises(ClientError, match=kind):
        asyncio.run(propose(Failing(kind), "t", "o", n=2, seed=0))


def chooser(log):
    """Proposes the offered actions by the draw's number, the first two alike, as JSON."""

    def policy(request, index):
        log.append(request)
        if schema_of(request) is None:
            return "Thought: Free.\nAction: go north"
        actions = schema_of(request)[1]["properties"]["action"]["enum"]
        return json.dumps({"thought": f"t{index}", "action": actions[max(0, index - 1) % 2]})

    return ScriptedClient(policy)


def test_a_choice_holds_answers_to_what_is_offered_and_asks_on_for_what_is_missing():
    log = []
    ask = dict(n=4, seed=1, choice=Choice("Choose.", rounds=1, thought_length=9))
    proposal = asyncio.run(propose(chooser(log), "Eat.", "You are in.", KNOWN, **ask))
    # draws 0 to 3 give KNOWN[0], KNOWN[0], KNOWN[1], KNOWN[0]; two of four are missing
    first, more = log[0], log[-1]
    assert [r.first for r in log] == [0, 0, 0, 0, 4, 4] and (first.n, more.n) == (4, 2)
    assert first.messages[0] == {"role": "system", "content": "Choose."} == more.messages[0]
    name, schema = schema_of(first)
    assert (name, schema["required"]) == ("step", ["thought", "action"])
    assert schema["properties"] == {
        "thought": {"type": "string", "maxLength": 9},
        "action": {"type": "string", "enum": KNOWN},
    }
    assert first.response_format["json_schema"]["strict"] and not schema["additionalProperties"]
    assert schema_of(more)[1]["properties"]["action"]["enum"] == KNOWN[2:]
    # draws 4 and 5 choose among the two that are left: its second, then its first
    assert [c.action for c in proposal.candidates] == [*KNOWN[:2], KNOWN[3], KNOWN[2]]
    assert proposal.counts == {"read": 6, "unusable": 0, "inadmissible": 0, "repeated": 2}
    assert len(proposal.completions) == 6


def test_free_actions_and_very_long_lists_keep_text():
    log = []
    choice = Choice("Choose.")
    for offered in ([], [f"take {i}" for i in range(MOST_ACTIONS + 1)]):
        found = asyncio.run(
            propose(chooser(log), "Eat.", "Here.", offered, n=2, seed=1, choice=choice)
        )
        assert found.candidates == (Candidate("Free.", "go north"),)
    assert len(log) == 4 and not any(map(schema_of, log))
    assert all(r.messages[0]["content"] == system_prompt() for r in log)


def test_an_error_ends_the_rounds_and_a_single_action_needs_none():
    log = []
    once = dict(n=3, seed=1, choice=Choice("Choose.", rounds=5))
    only = asyncio.run(propose(chooser(log), "Eat.", "Here.", ["wait"], n=3, seed=1))
    assert len(only.candidates) == 1

    class Refuses:
        model = "refuses"

        async def complete(self, request):
            log.append(request)
            raise ClientError("refusal", "No.")

    log.clear()
    found = asyncio.run(propose(Refuses(), "Eat.", "Here.", KNOWN, **once))
    assert (len(log), found.error, found.candidates) == (1, "No.", (Candidate(""),))


def test_a_whole_prompt_is_the_users_to_write():
    prompt = "You are $$ 5.\n---\n$task / $past / $observation / $actions"
    system, user = build_messages("Eat.", "In.", KNOWN[:2], [Turn("Dark.", "wait")], prompt)
    assert system["content"] == "You are $ 5."
    past = "Observation: Dark.\nAction: wait"
    assert user["content"] == f"Eat. / {past} / In. / - go north\n- open fridge"
    with pytest.raises(PgvError, match=r"act\.txt asks for \$goal"):
        build_messages("Eat.", "In.", system="So.\n---\n$goal")
