"""Laws of the wording: sentences, observation fields, the fingerprint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.texts import templates as texts
from pgv_jax.texts.segments import split, turns, window
from pgv_jax.types import Candidate, Episode, Step


def episode() -> Episode:
    steps = tuple(Step(f"o{t}", f"h{t}", f"a{t}") for t in range(3))
    return Episode("e", "t", "task", steps, "o3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t\n", []),
        ("The fridge is open. You have it.", ["The fridge is open.", "You have it."]),
        ("It costs $3.50. Mr. Smith paid!", ["It costs $3.50.", "Mr. Smith paid!"]),
        ("No stop\nYou are here.\r\nEnd", ["No stop", "You are here.", "End"]),
        ("Same. Same.", ["Same.", "Same."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert texts.sentences(text) == expected


@given(st.text())
def test_sentences_are_stripped_single_lines_and_lose_no_word(text: str) -> None:
    found = texts.sentences(text)
    assert all(s and s == s.strip() and len(s.splitlines()) == 1 for s in found)
    assert "".join("".join(found).split()) == "".join("".join(text.splitlines()).split())


def test_sentences_result_can_be_changed_without_harm() -> None:
    texts.sentences("A door.").append("x")
    assert texts.sentences("A door.") == ["A door."]


def test_observation_without_history_is_the_own_observation() -> None:
    assert [texts.observation_text(episode(), t, 0) for t in range(4)] == ["o0", "o1", "o2", "o3"]


def test_observation_with_history_is_a_window() -> None:
    assert texts.observation_text(episode(), 0, 2) == "Observation: o0"
    assert texts.observation_text(episode(), 3, 2) == (
        "Observation: o1\nAction: a1\nObservation: o2\nAction: a2\nObservation: o3"
    )
    assert texts.observation_text(episode(), 3, 3) == texts.observation_text(episode(), 3, 99)


quotations = st.lists(
    st.sampled_from(["Observation: ", "Action: ", " ", "\n", "a", "\r", "\u2028"]), max_size=9
).map("".join)


@given(st.lists(st.tuples(quotations, quotations), max_size=3), quotations)
def test_a_window_gives_its_turns_back_whatever_they_contain(
    past: list[tuple[str, str]], seen: str
) -> None:
    steps = tuple(Step(observation, "h", action) for observation, action in past)
    log = Episode("e", "t", "task", steps, seen)
    joined = texts.observation_text(log, len(steps), max(1, len(steps)))
    assert turns(joined) == [text for pair in past for text in pair] + [seen]


def test_a_log_that_quotes_a_log() -> None:
    seen = "log\nAction: was requested\n Observation: none\nend"
    assert window(["a", "b", seen]) == (
        "Observation: a\nAction: b\n"
        "Observation: log\n Action: was requested\n  Observation: none\nend"
    )
    assert turns(window(["a", "b", seen])) == ["a", "b", seen]
    assert turns("Observation: a\nAction: b\nObservation: log\nAction: was\nend") == [
        "a", "b", "log\nAction: was\nend",
    ]  # fmt: skip
    assert turns("Then\nAction: go") == ["Then\nAction: go"]


def test_an_episode_is_a_chain_of_segments() -> None:
    seen = texts.observation_text(episode(), 1, texts.EPISODE)
    assert split(seen) == (
        "Task: task", "\nObservation: o0", "\nThought: h0", "\nAction: a0", "\nObservation: o1",
    )  # fmt: skip
    thought = texts.thought_text(seen, "h1", texts.EPISODE)
    assert split(thought) == (*split(seen), "\nThought: h1")
    end = texts.observation_text(episode(), 3, texts.EPISODE)
    assert end.startswith(thought) and split(end)[-1] == "\nObservation: o3"
    assert texts.thought_text("o1", "h1", 3) == "h1"


@pytest.mark.parametrize(("t", "history"), [(4, 0), (-1, 0), (0, -1)])
def test_out_of_range_is_a_sentence(t: int, history: int) -> None:
    with pytest.raises(PgvError):
        texts.observation_text(episode(), t, history)


@pytest.mark.parametrize(
    ("thought", "action", "form", "said"),
    [
        ("I look.", "look", "thought", "I look."),
        ("I look.", "look", "action", "look"),
        ("I look.", "look", "both", "I look.\nAction: look"),
        ("", "look", "thought", ""),
        ("", "look", "both", "look"),
        ("I look.", "", "action", "I look."),
        ("look", "look", "both", "look"),
        ("", "", "both", ""),
    ],
)
def test_what_of_a_step_the_critic_reads(thought, action, form, said) -> None:
    assert texts.step_text(thought, action, form) == said
    step = Step("o", thought, action, candidates=(Candidate(thought, action), Candidate("x", "y")))
    worded = texts.worded(Episode("e", "t", "task", (step,), "end"), form).steps[0]
    assert worded.thought == worded.candidates[0].thought == said
    assert worded.action == action
    assert worded.candidates[1].thought == texts.step_text("x", "y", form)


def test_the_wording_of_a_step_is_in_the_fingerprint() -> None:
    forms = {texts.template_fingerprint(1, form) for form in ("thought", "action", "both")}
    assert len(forms) == 3 and texts.template_fingerprint(1) in forms


def test_fingerprint_depends_on_history_and_on_the_wording(monkeypatch: pytest.MonkeyPatch) -> None:
    one = texts.template_fingerprint(1)
    assert one == texts.template_fingerprint(1) != texts.template_fingerprint(2)
    monkeypatch.setattr(texts, "SUCCESS", "Done.")
    assert texts.template_fingerprint(1) != one
