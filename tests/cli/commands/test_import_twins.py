"""Planted twins through ``pgv import``: reworded tasks share a split, other tasks need not."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgv_jax.cli.commands.importing import import_
from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.splits import assign_splits

TASKS = {
    "mug": "Please put the clean mug on the desk and close the drawer.",
    "shoes": "Find red running shoes in size 9 and buy them.",
    "numbers": "Use the numbers 4 4 4 8 to make 24.",
    "tree": "Grow an orange tree in the greenhouse from a seed.",
    "flight": "Book a flight on May 12 from Oslo to Rome for two people.",
    "trip": "Cancel the reservation of Mia and refund the gift card.",
}
SAME = {
    "mug": "Could you put a clean mug on the desk, and close a drawer?",
    "flight": "For two people, book a flight from Oslo to Rome on May 12.",
}
OTHER = {
    "shoes": "Find red running shoes in size 10 and buy them.",
    "numbers": "Use the numbers 4 8 8 8 to make 24.",
    "tree": "Grow an apple tree in the greenhouse from a seed.",
}
ENDING = "-again"
"""Of a twin's id."""


def imported(folder: Path, splits: tuple[str | None, str | None]) -> tuple[str, dict[str, str]]:
    """What the command says, and each task's split; ``splits`` are the tasks' and the twins'."""
    twins = {f"{name}{ENDING}": text for name, text in (SAME | OTHER).items()}
    with (folder / "log.jsonl").open("w") as file:
        for name, task in (TASKS | twins).items():
            step = {"observation": "Begin.", "thought": "I begin.", "action": "begin"}
            record = {"episode_id": name, "task_id": name, "task": task, "steps": [step]}
            record["final_observation"] = "Done."
            split = splits[name in twins]
            file.write(json.dumps(record | ({"split": split} if split else {})) + "\n")
    done = CliRunner().invoke(
        import_, [str(folder / "log.jsonl"), "--out", str(folder / "d"), "--quiet"]
    )
    assert done.exit_code == 0, done.output
    return done.stdout, {e.task_id: str(e.split) for e in read_episodes(folder / "d")}


def test_twins_share_a_split_and_are_counted(tmp_path: Path) -> None:
    said, split = imported(tmp_path, (None, None))
    apart = assign_splits((name, None) for name in split)
    # By its id alone the flight would judge a critic that trained on its twin.
    assert (apart["flight"], apart[f"flight{ENDING}"]) == ("test", "train")
    assert all(split[name] == split[f"{name}{ENDING}"] for name in SAME)
    assert "4 tasks repeat another task in other words" in said
    assert "of another split" not in said and "share their text" not in said


def test_twins_that_the_log_holds_out_are_said_to_be_trained_on(tmp_path: Path) -> None:
    said, split = imported(tmp_path, ("train", "test"))
    assert split["mug"] == "train" and split[f"mug{ENDING}"] == "test"
    assert "4 tasks repeat a task of another split in other words. " in said
    assert "share its split" not in said


def test_where_ids_tell_equal_texts_apart_it_is_said_that_no_twin_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OTHER, "trip", TASKS["trip"])
    said, _ = imported(tmp_path, (None, None))
    assert "2 tasks share their text with another task and have an id of their own" in said
    assert "in other words (" not in said
