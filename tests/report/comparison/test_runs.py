import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from pgv_jax.cli.commands.compare import compare as command
from pgv_jax.data.storage.jsonl import write_jsonl
from pgv_jax.errors import PgvError
from pgv_jax.report.comparison.runs import compare, compare_table, read_runs, unfinished
from pgv_jax.report.pages.plots import compare_plot
from pgv_jax.report.stats import sign_test
from pgv_jax.types import Episode, Step


def episode(task: int, success: bool | None, *, steps: int = 2, **metadata: Any) -> Episode:
    facts = {"prompt_tokens": 90, "completion_tokens": 10, "dollars": 0.01}
    step = Step("Seen.", "I act.", "act", metadata=facts)
    name = "/".join(map(str, [task, *metadata.values()]))
    return Episode(
        episode_id=name,
        task_id=f"task {task}",
        task="Do it.",
        steps=(step,) * steps,
        final_observation="Seen.",
        success=success,
        score=None if success is None else 0.5 + 0.5 * success,
        is_terminal=True,
        metadata={"seconds": 1.5} | metadata,
    )


def run_of(outcomes: Sequence[bool | None], **metadata: Any) -> list[Episode]:
    return [episode(task, success, **metadata) for task, success in enumerate(outcomes)]


A = run_of([True, True, True, False, True, True, True, True, False, True])
B = run_of([True, False, False, False, False, True, False, True, True, False])


def test_success_score_and_costs() -> None:
    runs = compare({"a": A, "b": B})["runs"]
    a, b = runs["a"], runs["b"]
    assert (a["first_try"]["success"], b["first_try"]["success"]) == (0.8, 0.4)
    low, high = a["first_try"]["ci95"]
    assert low < 0.8 < high
    assert a["first_try"]["score"] == pytest.approx(0.9)
    assert a["costs"]["per_decision"] == {"tokens": 100, "dollars": 0.01, "seconds": 0.75}
    assert b["costs"]["per_success"] == {"tokens": 500, "dollars": 0.05, "seconds": 3.75}
    assert a["self_selected"] is None and a["oracle"] is None


def test_runs_are_paired_on_task_and_seed() -> None:
    minus = compare({"a": A, "b": B})["runs"]["b"]["minus"]
    pairs = list(zip(A, B, strict=True))
    tasks = [a.task_id for a, _ in pairs]
    test = sign_test([b.success for _, b in pairs], [a.success for a, _ in pairs], tasks)
    assert minus["pairs"] == 10 and minus["success"] == pytest.approx(-0.4)
    assert (minus["sign_test"]["tasks_better"], minus["sign_test"]["tasks_worse"]) == (1, 5)
    assert minus["sign_test"]["p"] == pytest.approx(test.p, abs=1e-6)
    assert minus["score"] == pytest.approx(-0.2)
    # of a longer run, in another order, the same tasks are taken
    more = compare({"a": A, "b": [*reversed(B), episode(77, True)]})
    assert more["runs"]["b"]["minus"] == minus | {
        "ci95": more["runs"]["b"]["minus"]["ci95"],
        "score_ci95": more["runs"]["b"]["minus"]["score_ci95"],
    }
    assert more["tasks_in_common"] == 10


@pytest.mark.parametrize("times", [1, 5])
def test_a_task_counts_once_however_often_it_is_played(times: int) -> None:
    """Twelve tasks: six won by b alone, one by a alone."""
    runs = {
        name: [episode(i, i in won, seed=s) for i in range(12) for s in range(times)]
        for name, won in (("a", (0, 4, 8)), ("b", (1, 2, 4, 5, 7, 8, 10, 11)))
    }
    minus = compare(runs)["runs"]["b"]["minus"]
    assert (minus["pairs"], minus["success"]) == (12 * times, pytest.approx(5 / 12))
    # p = 2 (1 + 7) / 2^7; se^2 = (7 - 25/12) / 11 / 12 with 11 degrees of freedom.
    assert minus["sign_test"] == {"tasks_better": 6, "tasks_worse": 1, "p": 0.125}
    half = 2.200985 * (59 / 12 / 132) ** 0.5
    assert minus["ci95"] == pytest.approx([5 / 12 - half, 5 / 12 + half], abs=1e-6)


def test_the_reference_can_be_named() -> None:
    comparison = compare({"a": A, "b": B}, reference="b")
    assert comparison["runs"]["b"]["minus"] is None
    assert comparison["runs"]["a"]["minus"]["success"] == pytest.approx(0.4)
    with pytest.raises(PgvError, match="'c' is not among those given: a, b"):
        compare({"a": A, "b": B}, reference="c")


def test_runs_without_a_task_in_common_say_so() -> None:
    others = [episode(100 + i, True) for i in range(3)]
    comparison = compare({"a": A, "b": others})
    assert comparison["runs"]["b"]["minus"] == {"pairs": 0} and not comparison["tasks_in_common"]
    compare_table(comparison)


def tries(judged: bool) -> list[Episode]:
    """Three tasks of three tries: wins at first, wins at the end, never wins."""
    wins = [[True, False, False], [False, False, True], [False, False, False]]
    own = [[0.1, 0.9, 0.2], [0.1, 0.2, 0.9], [0.3, 0.2, 0.1]]
    return [
        episode(
            task,
            wins[task][i],
            seed=0,
            attempt=i,
            **({"self_score": own[task][i]} if judged else {}),
        )
        for i in (2, 0, 1)
        for task in range(3)
    ]


def test_first_self_selected_and_best_tries_are_columns_of_their_own() -> None:
    run = compare({"run": tries(judged=True)})["runs"]["run"]
    columns = [run[name]["success"] for name in ("first_try", "self_selected", "oracle")]
    assert columns == pytest.approx([1 / 3, 1 / 3, 2 / 3], abs=1e-6)
    assert run["first_try"]["episodes"] == 3 and run["episodes"] == 9
    blind = compare({"run": tries(judged=False)})["runs"]["run"]
    assert blind["self_selected"] is None and blind["oracle"]["success"] == pytest.approx(
        2 / 3, abs=1e-6
    )


def test_unknown_outcomes_count_as_failures_and_are_told() -> None:
    comparison = compare({"a": run_of([True, None])})
    assert comparison["runs"]["a"]["first_try"]["success"] == 0.5
    assert "1 episodes of unknown outcome" in shown(comparison)


def test_refinements_are_counted() -> None:
    steps = tuple(
        Step("o", "t", "a", metadata={"refinement": {"outcome": outcome}})
        for outcome in ("kept", "rewritten", "rewritten", "fallback")
    )
    refined = Episode("e", "t", "do", steps, "o", success=True)
    run = compare({"a": [refined]})["runs"]["a"]
    assert run["refinements"] == {"kept": 1, "rewritten": 2, "fallback": 1}
    assert run["costs"]["per_decision"] == {"tokens": None, "dollars": None, "seconds": None}


def shown(comparison: dict[str, Any]) -> str:
    console = Console(width=220, record=True, quiet=False, file=io.StringIO())
    console.print(compare_table(comparison))
    return console.export_text()


def test_the_table_names_every_run_and_its_difference() -> None:
    text = shown(compare({"react": A, "refine": B}))
    assert "react" in text and "refine" in text and "80 %" in text and "\u221240 %" in text
    assert "p = 0.22" in text and "0.0100" in text


def test_a_plot_has_a_row_for_each_run() -> None:
    plot = compare_plot(compare({"react": A, "refine": B}))
    assert plot is not None and plot.startswith("<svg") and "Refine" in plot and "80 %" in plot


def test_shards_of_a_folder_are_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "refine"
    folder.mkdir()
    write_jsonl(folder / "0.jsonl", A[:6])
    write_jsonl(folder / "1.jsonl", A[4:])  # an overlap that is the same
    write_jsonl(tmp_path / "react.jsonl", B)
    runs = read_runs([folder, tmp_path / "react.jsonl"])
    assert {name: len(episodes) for name, episodes in runs.items()} == {"refine": 10, "react": 10}
    write_jsonl(folder / "2.jsonl", [B[1]])
    with pytest.raises(PgvError, match="differs from the one of that name"):
        read_runs([folder])


def test_a_run_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    for name, episodes in (("critic", A), ("react", B)):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "episodes.jsonl", episodes)
    runs = read_runs([tmp_path / "react", *sorted(tmp_path.iterdir())])
    assert list(runs) == ["react", "critic"]  # the first is the reference
    other = tmp_path / "elsewhere/react"
    other.mkdir(parents=True)
    write_jsonl(other / "episodes.jsonl", A)
    with pytest.raises(PgvError, match="Two runs are named 'react'"):
        read_runs([tmp_path / "react", other])


def test_arms_of_one_file_are_taken_apart(tmp_path: Path) -> None:
    path = tmp_path / "both.jsonl"
    write_jsonl(path, [*run_of([True, False], arm="first"), *run_of([True, True], arm="critic")])
    assert set(read_runs([path])) == {"first", "critic"}
    write_jsonl(tmp_path / "one.jsonl", A)
    assert set(read_runs([path, tmp_path / "one.jsonl"])) == {"both/first", "both/critic", "one"}


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(PgvError, match="is no run"):
        read_runs([tmp_path])
    with pytest.raises(PgvError, match="is no run"):
        read_runs([tmp_path / "none.jsonl"])
    with pytest.raises(PgvError, match="no episodes to compare"):
        compare({"a": []})


@pytest.mark.part("report")
def test_the_command_prints_the_table_and_writes_json_and_plot(tmp_path: Path) -> None:
    for name, episodes in (("react", B), ("refine", A)):
        write_jsonl(tmp_path / f"{name}.jsonl", episodes)
    out = tmp_path / "out"
    arguments = [str(tmp_path / "react.jsonl"), str(tmp_path / "refine.jsonl"), "--out", str(out)]
    result = CliRunner().invoke(command, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0 and "refine" in result.output
    written = json.loads((out / "compare.json").read_text())
    assert written["reference"] == "react"
    assert written["runs"]["refine"]["minus"]["success"] == pytest.approx(0.4)
    assert (out / "compare.svg").read_text().startswith("<svg")


def test_a_rollout_that_is_not_complete_is_named(tmp_path: Path) -> None:
    def record(name: str, **about: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        index, count = about.get("shard", (0, 1))
        suffix = "" if count == 1 else f"-{index}-of-{count}"
        (folder / f"run{suffix}.json").write_text(json.dumps(about))
        return folder

    whole = record("whole", state="finished", finished=4, episodes=4)
    part = record("part", state="finished", shard=[0, 3])
    reason = "The budget stops the run."
    stopped = record("stopped", state="stopped", reason=reason, finished=2, episodes=4)
    (tmp_path / "bare").mkdir()
    assert unfinished([whole, tmp_path / "bare"]) == []
    assert unfinished([whole, part, stopped]) == [
        f"{part} holds 1 of 3 shards.",
        f"{stopped} holds 2 of 4 episodes and is stopped: {reason}",
    ]
