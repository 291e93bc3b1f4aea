"""Tasks are what was asked: no benchmark's name, no number that two files share."""

from pathlib import Path

from pgv_jax.data.importers.outcomes.rewards import Rewards
from pgv_jax.data.importers.source import labels_of

from .reading import chat, imported, jsonl


def test_a_benchmarks_name_is_no_task(tmp_path: Path) -> None:
    records = [chat(f"Buy lamp {i}", "go", task="webshop", reward=i % 2) for i in range(12)]
    episodes, report = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert {e.task for e in episodes} == {f"Buy lamp {i}" for i in range(12)}
    assert len({e.task_id for e in episodes}) == 12
    assert "'webshop' is no task but a name" in report.findings.sentences[-1]
    kept, _ = imported(tmp_path / "x.jsonl", options=_named("task"))
    assert {e.task for e in kept} == {"webshop"}


def _named(field: str):
    from pgv_jax.data.importers.base import Options

    return Options(fields={"task": field})


def test_one_instruction_over_everything_is_no_task_and_a_task_in_other_scenes_is(
    tmp_path: Path,
) -> None:
    form = [chat(f"Buy lamp {i}", "go", instruction="Help the customer.") for i in range(6)]
    scenes = [
        chat(
            f"Room {i}. Your task is to: put a mug on the desk.", "go", task="put a mug on the desk"
        )
        for i in range(6)
    ]
    episodes, _ = imported(jsonl(tmp_path / "a.jsonl", *form))
    assert {e.task for e in episodes} == {f"Buy lamp {i}" for i in range(6)}
    episodes, _ = imported(jsonl(tmp_path / "b.jsonl", *scenes))
    assert {e.task for e in episodes} == {"put a mug on the desk"}


def test_a_benchmarks_name_is_no_task_id(tmp_path: Path) -> None:
    records = [chat(f"Buy lamp {i}", "go", task_id="webshop") for i in range(6)]
    episodes, report = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert len({e.task_id for e in episodes}) == 6
    assert "'webshop' stands over everything" in report.findings.sentences[-1]


def test_a_number_of_two_files_is_two_tasks(tmp_path: Path) -> None:
    mugs = [chat(f"Put mug {i}", "go", task_id=i) for i in range(3)]
    lamps = [chat(f"Buy lamp {i}", "go", task_id=i) for i in range(3)]
    paths = [jsonl(tmp_path / "a.jsonl", *mugs), jsonl(tmp_path / "b.jsonl", *lamps)]
    again = jsonl(tmp_path / "c.jsonl", *mugs)  # a second run of the first
    episodes, report = imported(*paths, again)
    assert sorted({e.task_id for e in episodes}) == ["a:0", "a:1", "a:2", "b:0", "b:1", "b:2"]
    assert {e.task for e in episodes if e.task_id == "a:1"} == {"Put mug 1"}
    assert "3 task ids (0, 1, 2) have different texts" in report.findings.sentences[-1]


def test_texts_that_vary_within_a_file_say_nothing_of_identity(tmp_path: Path) -> None:
    """A simulated user asks for the same in other words at every trial."""
    trial = [chat(words, "go", task_id=7) for words in ("I want a flight", "Cancel it please")]
    other = [chat("Where is my bag?", "go", task_id=7)]
    paths = [jsonl(tmp_path / "a.jsonl", *trial), jsonl(tmp_path / "b.jsonl", *other)]
    episodes, report = imported(*paths)
    assert {e.task_id for e in episodes} == {"7"}
    assert "taken for the same tasks" in report.findings.sentences[-1]


def test_files_of_one_name_in_folders_keep_their_episodes_apart(tmp_path: Path) -> None:
    for folder in ("june", "july"):
        (tmp_path / folder).mkdir()
        jsonl(tmp_path / folder / "log.jsonl", chat(f"In {folder}", "go"))
    episodes, report = imported(tmp_path / "june" / "log.jsonl", tmp_path / "july" / "log.jsonl")
    assert [e.episode_id for e in episodes] == ["july/log:0", "june/log:0"]
    assert report.renamed == 0
    paths = ["a/x.jsonl", "b/a/x.jsonl.gz", "c/y.jsonl", "c/y.json"]
    assert labels_of([Path(p) for p in paths]) == ["a/x", "b/a/x", "c/y", "c/y"]


def test_the_outcome_table_names_the_task_and_joins_by_file(tmp_path: Path) -> None:
    one, two = (jsonl(tmp_path / f"{name}.jsonl", chat("Go", name)) for name in ("r1", "r2"))
    table = tmp_path / "t.csv"
    table.write_text("run,won,puzzle\nr1,1,p7\nr2,0,p8\n")
    rewards = Rewards(table, "run", "won", on="file", task_id="puzzle")
    episodes, report = imported(one, two, rewards=rewards)
    assert [(e.task_id, e.success) for e in episodes] == [("p7", True), ("p8", False)]
    assert report.unmatched == 0


def test_reworded_tasks_share_a_split_and_are_counted(tmp_path: Path) -> None:
    cities = ("Oslo", "Rome", "Cairo", "Lima", "Quito", "Bern", "Riga", "Tunis", "Accra", "Lome")
    asked = [f"Please book the flight to {city} for Mia" for city in cities]
    again = [text.replace("Please book the", "Could you book a") for text in asked]
    episodes, report = imported(
        jsonl(tmp_path / "x.jsonl", *(chat(text, "ok") for text in asked + again))
    )
    split = {e.task: e.split for e in episodes}
    assert all(split[one] == split[other] for one, other in zip(asked, again, strict=True))
    assert report.summary is not None and report.summary.near == 20
    assert set(split.values()) == {"train", "val", "test"}
