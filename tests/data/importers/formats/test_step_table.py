"""Tables with a row a step; every value stated by hand."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pgv_jax.data.importers.base import BadRecord, Options
from pgv_jax.data.importers.detection import detect
from pgv_jax.data.importers.formats.tables.column_names import known_columns, near_columns
from pgv_jax.data.importers.formats.tables.step_table import StepTable
from pgv_jax.errors import PgvError

from ..reading import imported, jsonl, rows

KNOWN = [
    {"episode_id": "a", "step": 2, "observation": "a door", "thought": "", "action": "open it",
     "reward": 1.0, "task": "get out", "seed": 7, "ms": 12},
    {"episode_id": "b", "step": 1, "observation": "a wall", "thought": "walls break",
     "action": "hit it", "reward": 0.0, "task": "get out", "seed": 8, "ms": 30},
    {"episode_id": "a", "step": 1, "observation": "a room", "thought": "doors lead out",
     "action": "look", "reward": 0.0, "task": "get out", "seed": 7, "ms": 10},
]  # fmt: skip
A = [("a room", "doors lead out", "look"), ("a door", "open it", "open it")]
B = [("a wall", "walls break", "hit it")]
STRANGE = dict(
    episode="Nummer", step="Zug", observation="Blick", thought="Grund", action="Tat",
    reward="Lohn", task="Ziel", success="Klappt",
)  # fmt: skip


def table(path: Path, records: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        names = list(records[0])
        lines = [names, *([str(record[name]) for name in names] for record in records)]
        path.write_text("".join(",".join(line) + "\n" for line in lines))
    elif path.suffix == ".json":
        path.write_text(json.dumps(records, indent=1))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif path.suffix == ".arrow":
        whole = pyarrow.Table.from_pylist(records)
        with (
            pyarrow.OSFile(str(path), "wb") as file,
            pyarrow.ipc.new_file(file, whole.schema) as out,
        ):
            out.write_table(whole)
    elif path.suffix == ".db":
        names = list(records[0])
        with sqlite3.connect(path) as database:
            database.execute(f"CREATE TABLE steps ({', '.join(names)})")
            marks = ", ".join("?" * len(names))
            for record in records:
                database.execute(f"INSERT INTO steps VALUES ({marks})", list(record.values()))
            database.execute("CREATE TABLE notes (note)")
        database.close()
    else:
        jsonl(path, *records)
    return path


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet", "arrow", "db"])
def test_every_kind_of_table(tmp_path: Path, kind: str) -> None:
    path = table(tmp_path / f"x.{kind}", KNOWN)
    assert detect(path).importer.name == "steps"
    (a, b), _ = imported(path)
    assert (rows(a), rows(b)) == (A, B)
    assert (a.episode_id, a.task, b.task_id == a.task_id) == ("a", "get out", True)
    assert [s.reward for s in a.steps] == [0, 1]
    assert (a.success, a.score, a.is_terminal, b.success) == (True, 1, True, False)
    assert [s.metadata["thought_from"] for s in a.steps] == ["reasoning", "action"]
    assert [str(s.metadata["ms"]) for s in a.steps] == ["10", "12"]
    assert str(a.metadata["record"]["seed"]) == "7"


def test_names_that_nobody_knows(tmp_path: Path) -> None:
    back = {**STRANGE, "episode_id": STRANGE["episode"]}
    ends = {"a": "yes", "b": "no"}
    records = [
        {**{back[k]: v for k, v in r.items() if k in back}, "Klappt": ends[str(r["episode_id"])]}
        for r in KNOWN
    ]
    path = table(tmp_path / "x.csv", records)
    with pytest.raises(PgvError, match="No importer recognises"):
        detect(path)
    (a, b), report = imported(path, options=Options(columns=STRANGE))
    assert (rows(a), rows(b)) == (A, B)
    assert (a.success, b.success, a.task) == (True, False, "get out")
    assert report.sources[0].why.endswith(
        "; read as episode=Nummer, step=Zug, observation=Blick, thought=Grund, action=Tat, "
        "reward=Lohn, task=Ziel, success=Klappt"
    )


def test_near_names_are_guessed_only_where_one_fits() -> None:
    have = ["EpisodeNr", "stepCount", "model action", "my_thought", "obsrvation", "x"]
    found = near_columns(have, known_columns(have))
    assert found == {
        "episode": "EpisodeNr",
        "step": "stepCount",
        "action": "model action",
        "thought": "my_thought",
        "observation": "obsrvation",
    }
    two = ["episode", "first action", "second action"]
    assert "action" not in near_columns(two, known_columns(two))


def test_answers_of_actions_are_the_next_observations(tmp_path: Path) -> None:
    records = [
        {"run": 1, "goal": "get out", "action": "look", "result": "a door"},
        {"run": 1, "goal": "get out", "action": "open it", "result": "a garden"},
    ]
    (episode,), report = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert rows(episode) == [("get out", "look", "look"), ("a door", "open it", "open it")]
    assert episode.final_observation == "a garden"
    assert not report.tally.notes
    seen = [{"run": 1, "action": "look", "observation": "a door"}]
    _, report = imported(jsonl(tmp_path / "y.jsonl", *seen))
    (note,) = report.tally.notes
    assert note.endswith("--column result=observation")


def test_a_last_row_without_an_action_is_the_final_observation(tmp_path: Path) -> None:
    records = [
        {"episode": 1, "step": 0, "obs": "start", "action": "go", "done": False},
        {"episode": 1, "step": 1, "obs": "end", "action": None, "done": True},
    ]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert rows(episode) == [("start", "go", "go")]
    assert (episode.final_observation, episode.is_terminal, episode.success) == ("end", True, None)


def test_episodes_by_restarts_of_the_steps(tmp_path: Path) -> None:
    records = [{"t": t, "state": f"s{i}", "act": f"a{i}"} for i, t in enumerate([0, 1, 2, 0, 1])]
    episodes, _ = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert [(e.episode_id, len(e.steps)) for e in episodes] == [("x:0", 3), ("x:1", 2)]


def test_rewards_that_are_repeated_in_every_row(tmp_path: Path) -> None:
    records = [
        {"episode": e, "step": t, "obs": "o", "action": "a", "reward": r}
        for e, r, n in (("x", 1, 3), ("y", 0, 2))
        for t in range(n)
    ]
    (x, y), report = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert (x.success, y.success) == (True, False)
    assert [s.reward for s in x.steps] == [None, None, 1]
    assert any("are the same in all rows" in note for note in report.tally.notes)


def test_a_step_that_was_cut_off_is_no_end(tmp_path: Path) -> None:
    rows_ = [{"episode": 1, "step": t, "obs": "o", "action": "a", "reward": 0, "truncated": t == 1}
             for t in range(2)]  # fmt: skip
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *rows_))
    assert (episode.success, episode.is_terminal) == (False, False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step": 1}, "step: is 1 twice in one episode"),
        ({"reward": "much"}, "line 2: reward: is not a number"),
        ({"action": "", "thought": ""}, "line 2: action: is empty"),
        ({"step": None}, "line 2: step: is empty"),
        ({"reward": float("nan")}, "line 2: reward: is not a number"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    records = [{"episode": "a", "step": t, "obs": "o", "thought": "h", "action": "a", "reward": 0}
               for t in range(1, 4)]  # fmt: skip
    records[1].update(change)
    (bad,) = StepTable().read(jsonl(tmp_path / "x.jsonl", *records), Options())
    assert isinstance(bad, BadRecord)
    assert words in str(bad)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", KNOWN)
    with pytest.raises(PgvError, match="no column 'acton', is it 'action'"):
        imported(path, options=Options(columns={"action": "acton"}))
    with pytest.raises(PgvError, match="no column of ours named 'acton'; is it action"):
        imported(path, options=Options(columns={"acton": "action"}))
    with pytest.raises(PgvError, match="no table 'step'"):
        base = table(tmp_path / "x.db", KNOWN)
        imported(base, options=Options(columns={"table": "step", "action": "action"}))


@pytest.mark.parametrize(
    "text",
    [
        "episode,task,obs,action\n0,pen,room,look\n0,shoe,shop,search\n",
        "index,task,obs,action\n0,pen,room,look\n1,shoe,shop,search\n",
        "episode,step,task_id,obs,action\n0,1,pen,room,look\n0,2,shoe,shop,search\n",
    ],
)
def test_two_tasks_in_an_episode_are_two_episodes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(PgvError, match=r"'0' has two values of 'task(_id)?', 'pen' and 'shoe'"):
        imported(path)


def test_a_query_a_step_is_no_other_episode(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("episode,step,query,obs,action\n0,1,pen,a,b\n0,2,shoe,c,d\n")
    (episode,), _ = imported(path)
    assert len(episode.steps) == 2


@pytest.mark.parametrize("name", ["reward_to_go", "total_reward", "reward_model", "avg_reward"])
def test_no_reward_of_a_step_is_guessed(name: str) -> None:
    assert "reward" not in near_columns([name], {})


def test_a_reward_beside_the_last_state_was_earned_by_the_last_action(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "x.jsonl",
        {"episode": 1, "step": 1, "observation": "room", "action": "look", "reward": 0},
        {"episode": 1, "step": 2, "observation": "desk", "action": "take", "reward": 0.25},
        {"episode": 1, "step": 3, "observation": "hand", "action": None, "reward": 0.75},
    )
    (episode,), _ = imported(path)
    assert [s.reward for s in episode.steps] == [0, 1]
    assert (episode.final_observation, episode.success) == ("hand", True)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("total_reward", (0, 0.5, 0.5), (False, 0.5)),
        ("cumulative_reward", (0, 1, 1), (True, 1)),
        ("final_score", (1, 1, 1), (True, 1)),
        ("info", ({"won": False}, {"won": False}, {"won": True}), (True, None)),
        ("score", (0, 0.5, 1), (None, None)),
    ],
)
def test_a_column_of_more_than_one_step(
    tmp_path: Path, name: str, values: tuple[Any, ...], expected: tuple[Any, Any]
) -> None:
    step = {"episode": 1, "observation": "room", "action": "look"}
    path = jsonl(
        tmp_path / "x.jsonl", *({**step, "step": i, name: v} for i, v in enumerate(values))
    )
    (episode,), report = imported(path)
    assert (episode.success, episode.score) == expected
    said = [note for note in report.tally.notes if note.startswith("'score' varies")]
    assert bool(said) == (expected == (None, None))


def test_tables_of_a_database_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = table(tmp_path / "x.db", KNOWN)
    _, report = imported(path)
    assert (
        "of x.db the largest table, 'steps', is read, and not notes; another one: --column "
        "table=NAME" in report.tally.notes
    )
    plain = table(tmp_path / "x.csv", KNOWN)
    with pytest.raises(PgvError, match=r"table=notes: .*x\.csv is no database"):
        imported(plain, options=Options(columns={"table": "notes"}))


@pytest.mark.parametrize("column", ["step", "timestamp"])
def test_rows_are_sorted_by_times(tmp_path: Path, column: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        f"episode,{column},observation,action\na,2026-01-02T00:00:10,desk,take\n"
        "a,2026-01-02T00:00:09Z,room,look\n"
    )
    (episode,), report = imported(path)
    assert rows(episode) == [("room", "look", "look"), ("desk", "take", "take")]
    assert ("rows are sorted by 'timestamp'" in report.tally.notes) == (column == "timestamp")


def test_times_that_do_not_tell_all_rows_apart_keep_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("episode,ts,observation,action\na,9,room,look\na,9,desk,take\na,8,hall,go\n")
    (episode,), _ = imported(path)
    assert [s.action for s in episode.steps] == ["go", "look", "take"]
    path.write_text("episode,ts,observation,action\na,9,room,look\na,soon,desk,take\n")
    (episode,), _ = imported(path)
    assert [s.action for s in episode.steps] == ["look", "take"]


def test_gaps_and_steps_behind_an_end_are_said(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("episode,step,obs,act,done\na,1,r,b,no\na,2,c,d,yes\na,5,e,f,yes\n")
    (episode,), report = imported(path)
    assert len(episode.steps) == 3
    notes = " ".join(report.tally.notes)
    assert "the numbers in 'step' have gaps: steps are missing from the log" in notes
    assert "'done' is true before the last step of an episode" in notes
