"""Text logs of many episodes; every value stated by hand."""

from pathlib import Path

import pytest

from pgv_jax.data.importers.detection import detect
from pgv_jax.data.importers.formats.texts.verdicts import outcome_in, without_verdict
from pgv_jax.errors import PgvError

from ..reading import imported, rows

ONE = "Thought: h\nAction: go\nObservation: a door\nThought: i\nAction: open"
STEPS = [("T", "h", "go"), ("a door", "i", "open")]

ENDS = {
    "tasks": ("", "Reward: 1.0\n", "\n", "Reward: 0.0\n"),
    "numbered lines": (
        "=== Episode 1 ===\n",
        "Success: True\n",
        "=== Episode 2 ===\n",
        "Success: False\n",
    ),
    "numbered of all": ("[Trial 3/9]\n", "Result: pass\n\n", "[Trial 5/9]\n", "Result: fail\n"),
    "rules": ("", "Final reward: 1\n", "----------\n", "Final reward: 0\n----------\n"),
    "brackets": ("", "[RESULT] SUCCESS\n", "\n", "[RESULT] FAILURE\n"),
    "counts": ("", "Success: yes\nTotal steps: 2\nTime: 3.1 s\n", "\n", "Steps: 2\nSuccess: no\n"),
    "marks": ("", "**Result:** \u2705\n", "\n", "**Result:** \u274c\n"),
}
"""What stands before, between and behind the two episodes of a log."""


@pytest.mark.parametrize("name", ENDS)
def test_many_episodes_in_a_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.log"
    before, first_end, between, second_end = ENDS[name]
    first_text, second_text = (f"Task: {task}\n{ONE}\n" for task in "TU")
    path.write_text(before + first_text + first_end + between + second_text + second_end)
    assert detect(path).importer.name == "react"
    (first, second), _ = imported(path)
    assert rows(first) == STEPS
    assert rows(second) == [("U", *STEPS[0][1:]), STEPS[1]]
    assert (first.task, first.success, second.task, second.success) == ("T", True, "U", False)
    assert (first.final_observation, second.final_observation) == ("", "")


def test_numbered_questions_with_the_outcome_in_the_last_observation(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(
        "Question: who?\nThought 1: h\nAction 1: Finish[z]\n"
        "Observation 1: Episode finished, reward = 1\n"
        "Question: when?\nThought 1: i\nAction 1: Finish[q]\n"
        "Observation 1: Episode finished, reward = 0\n"
    )
    (first, second), _ = imported(path)
    assert (rows(first), first.task) == ([("who?", "h", "Finish[z]")], "who?")
    assert (rows(second), second.task) == ([("when?", "i", "Finish[q]")], "when?")
    assert (first.success, second.success) == (True, False)


def test_commands_in_scenes(tmp_path: Path) -> None:
    scene = "You are in the middle of a room. You see a {0} 1.\nYour task is to: find a {1}.\n"
    path = tmp_path / "x.txt"
    path.write_text(
        scene.format("desk", "pen")
        + "> go to desk 1\nA pen 1.\n> take pen 1\nYou pick it up.\nSTATUS: OK\n"
        + scene.format("bed", "cd")
        + "> think: look\nOK.\n> go to bed 1\nNothing.\nSTATUS: FAIL\n"
    )
    (first, second), _ = imported(path)
    assert [s.action for s in first.steps] == ["go to desk 1", "take pen 1"]
    assert (first.task, first.success) == ("find a pen.", True)
    assert first.final_observation == "You pick it up."
    assert [(s.thought, s.action) for s in second.steps] == [("look", "go to bed 1")]
    assert (second.task, second.success, second.is_terminal) == ("find a cd.", False, False)


def test_a_page_with_quotations_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("# Tool\nAs said:\n\n> quote one\n\nand\n\n> quote two\n")
    with pytest.raises(PgvError, match="No importer recognises"):
        detect(path)


@pytest.mark.parametrize(
    ("line", "success", "reward"),
    [
        ("Reward: -1", None, -1.0),
        ("Score: -1", None, -1.0),
        ("Final score: 0.5/1", None, 0.5),
        ("Accuracy: 80%", None, 0.8),
        ("Total reward = 1.0", None, 1.0),
        ("Success -> True", True, None),
        ("[SUCCESS]", True, None),
        ("Task failed.", False, None),
        ("Test status: passed", True, None),
    ],
)
def test_lines_that_state_an_outcome(line: str, success: bool | None, reward: float | None) -> None:
    assert without_verdict(f"seen\n{line}") == ("seen", [line])
    found = outcome_in(line)
    assert (found.success, found.reward) == (success, reward)


@pytest.mark.parametrize("line", ["Status: open", "Score - 3", "Success rate: 0.5", "Steps: 3"])
def test_lines_that_state_none(line: str) -> None:
    assert without_verdict(f"seen\n{line}")[1] == []


TWO = {
    "no separator": ("", "Success: True\n", "", "Success: False\n"),
    "a short rule": ("", "Result: pass\n\n---\n\n", "", "Result: fail\n***\n"),
    "an outcome between rules": ("", "-----\nScore: 5/5\n", "-----\n", "-----\nScore: 1 / 10\n"),
    "lines above": ("Run of May\nEpisode 1/2\n", "won: yes\n", "Episode 2/2\n", "won: no\n"),
}


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("name", TWO)
def test_where_episodes_end(tmp_path: Path, name: str, ends: str) -> None:
    path = tmp_path / "x.log"
    before, first_end, between, second_end = TWO[name]
    deeds = f"{ONE}\nObservation: done\n"
    text = f"{before}Task: T\n{deeds}{first_end}{between}Task: U\n{deeds}{second_end}"
    path.write_bytes(text.replace("\n", ends).encode())
    (first, second), _ = imported(path)
    assert rows(first) == STEPS
    assert rows(second) == [("U", "h", "go"), STEPS[1]]
    assert (first.task, second.task) == ("T", "U")
    assert [e.final_observation for e in (first, second)] == ["done", "done"]
    assert [e.success for e in (first, second)] == [True, False]


def test_rules_within_an_episode_do_not_end_it(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    seen = "Title\n=====\nSome text\n"
    path.write_text(
        f"Task: T\n=========\nAction: cat\nObservation: {seen}Action: stop\n"
        "==========\nTask: U\nAction: go\nObservation: a\n----------\nAction: open\n"
        "==========\nTotal: 1 of 2\n"
    )
    (first, second), report = imported(path)
    assert rows(first) == [("T", "cat", "cat"), ("Title\n=====\nSome text", "stop", "stop")]
    assert (first.task, second.task) == ("T", "U")
    assert [s.action for s in second.steps] == ["go", "open"]
    note = "text before, between or behind the episodes, without an action, was left out"
    assert report.tally.notes == {note: 1}


def test_a_question_in_a_page_is_no_episode_where_steps_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(
        "Question: a?\nThought 1: h\nAction 1: look\nObservation 1: FAQ\n\nQuestion: how?\n"
        "Thought 2: i\nAction 2: Finish[x]\n"
    )
    (episode,), _ = imported(path)
    assert rows(episode) == [("a?", "h", "look"), ("FAQ\n\nQuestion: how?", "i", "Finish[x]")]


def test_a_final_answer_is_the_last_action(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(
        "Question: Who?\nThought: h\nAction: Search\nAction Input: Emma\nObservation: A novel.\n"
        "Thought: I know.\nFinal Answer: Jane Austen\n"
    )
    (episode,), _ = imported(path)
    assert rows(episode) == [
        ("Who?", "h", "Search\nAction Input: Emma"),
        ("A novel.", "I know.", "Final Answer: Jane Austen"),
    ]


def test_episodes_that_name_no_task_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(f"{ONE}\n")
    (episode,), report = imported(path)
    assert episode.task == ""
    assert report.tally.notes == {"no task is named; name it with --task or --task-field": 1}


@pytest.mark.parametrize(
    ("line", "reward"),
    [("Reward: 1", 1), ("Reward: 1 / 10", 0.1), ("Reward: 85%", 0.85), ("Score: 3/4", 0.75),
     ("Your score (min 0.0, max 1.0): 0.5", 0.5)],
)  # fmt: skip
def test_a_number_below_an_episode(line: str, reward: float) -> None:
    assert outcome_in(line).reward == reward


def test_numbered_questions(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(f"Question 1: Who?\n{ONE}\n\nQuestion 2: When?\n{ONE}\n")
    (first, second), _ = imported(path)
    assert (first.task, second.task) == ("Who?", "When?")
    assert rows(first) == [("Who?", "h", "go"), STEPS[1]]


def test_a_verdict_that_is_not_understood_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(f"Task: T\n{ONE}\nObservation: done\nResult: timeout\n")
    (episode,), report = imported(path)
    assert (episode.success, episode.final_observation) == (None, "done\nResult: timeout")
    assert report.tally.notes == {
        "'Result: timeout' below an episode is not understood as its outcome; join one with "
        "--rewards": 1
    }


def test_a_line_of_reward_a_step_is_that_steps(tmp_path: Path) -> None:
    text = (
        "Task: T\nObservation: a box\nThought: h\nAction: open\nReward: 0.25\n"
        "Observation: a coin\nAction: take\nReward: 0.5\n"
    )
    path = tmp_path / "x.txt"
    path.write_text(text)
    (episode,), _ = imported(path)
    assert rows(episode) == [("a box", "h", "open"), ("a coin", "take", "take")]
    assert [step.reward for step in episode.steps] == [0.25, 0.5]
    assert (episode.metadata["reward"], episode.final_observation) == (0.75, "")


def test_rewards_of_commands(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(
        "You are in a room.\nYour task is to: find the coin.\n\n> look\nA box.\nReward: 0\n"
        "> think: It may be in the box.\nOK.\n> open box\nA coin!\nReward: 1\n"
        "> take coin\nIt is yours."
    )
    (episode,), _ = imported(path)
    assert [s.observation for s in episode.steps] == ["You are in a room.", "A box.", "A coin!"]
    assert [step.reward for step in episode.steps] == [0.0, 1.0, None]
    assert episode.steps[1].thought == "It may be in the box."
    assert episode.final_observation == "It is yours."
    assert episode.success is True


def test_a_reward_that_not_all_steps_have_is_words(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(
        "Task: T\nAction: a\nObservation: x\nAction: b\nObservation: The poster says\nReward: 50\n"
        "Action: c\nObservation: z\nReward: 1.0\n"
    )
    (episode,), _ = imported(path)
    assert [s.observation for s in episode.steps] == ["T", "x", "The poster says\nReward: 50"]
    assert [s.reward for s in episode.steps] == [None, None, 1.0]
    assert episode.success is True
