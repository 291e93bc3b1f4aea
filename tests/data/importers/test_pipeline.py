"""The whole import: nothing lost silently, nothing raised but sentences, resumable."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.detection import BUILT_IN
from pgv_jax.data.importers.outcomes.rewards import Rewards
from pgv_jax.data.importers.pipeline import Plan, run_import
from pgv_jax.data.storage import spool
from pgv_jax.errors import PgvError

from ..strategies import json_values
from . import samples

ATIF_STEP = {"step_id": 1, "source": "agent", "message": "x"}


def contents(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def logs(count: int) -> list[dict[str, Any]]:
    return [{**samples.TOOL_LOG, "task_id": i % 8, "id": f"run-{i}"} for i in range(count)]


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_bad_records_stop_or_are_set_aside(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", logs(4))
    lines = path.read_text().splitlines()
    robot = [*samples.TOOL_LOG["messages"], {"role": "robot", "content": "mia@example.com"}]
    mail = {**samples.TOOL_LOG, "messages": robot}
    lines[1] = "{broken"
    lines[2] = json.dumps(mail)
    path.write_text("\n".join(lines))
    plan = Plan((path,), tmp_path / "d", format="openai", redact=("email",))
    with pytest.raises(PgvError, match=r"x.jsonl:2: json: .* --on-error skip"):
        run_import(plan)
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]
    report = run_import(Plan(**{**vars(plan), "on_error": "skip"}))
    assert (report.rejected, report.outcomes["success"]) == (2, 2)
    assert report.rejected_path == tmp_path / "d.rejected.jsonl"
    aside = [json.loads(line) for line in report.rejected_path.read_text().splitlines()]
    assert [(r["line"], r["field"]) for r in aside] == [(2, "json"), (3, "messages[6].role")]
    assert aside[0]["record"] == "{broken"
    assert "mia" not in aside[1]["record"] and "[REDACTED:email]" in aside[1]["record"]
    path.write_text(lines[0])
    assert run_import(Plan(**{**vars(plan), "overwrite": True})).rejected == 0
    assert not report.rejected_path.exists()  # it would speak of another import


def test_interrupted_twice_and_resumed_is_byte_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "PART_BYTES", 8000)
    path = jsonl(tmp_path / "x.jsonl", logs(30))
    path.write_text(path.read_text() + "{broken\n")
    whole = Plan((path,), tmp_path / "whole", on_error="skip", redact=("common",))
    run_import(whole)
    written: list[int] = []
    add = spool.Spool.add
    monkeypatch.setattr(spool.Spool, "add", lambda *a: (written.append(1), add(*a)))
    plan = Plan(**{**vars(whole), "out": tmp_path / "d"})
    for stop in (9, 21):
        done: list[int] = []

        def interrupt(steps: int, done: list[int] = done, stop: int = stop) -> None:
            done.append(steps)
            if len(done) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_import(plan, progress=interrupt)
        assert not (tmp_path / "d").exists()
    run_import(plan)
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")
    assert (tmp_path / "d.rejected.jsonl").read_text() == (
        tmp_path / "whole.rejected.jsonl"
    ).read_text()
    assert len(written) < 9 + 21 + 30
    assert not list(tmp_path.glob(".*"))


def test_changed_input_is_not_mixed_with_old_work(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", logs(5))

    def interrupt(steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_import(Plan((path,), tmp_path / "d"), progress=interrupt)
    jsonl(path, logs(3))
    report = run_import(Plan((path,), tmp_path / "d"))
    assert report.summary is not None and report.summary.episodes == 3


def test_outcomes_joins_rules_and_repeated_ids(tmp_path: Path) -> None:
    (tmp_path / "talk.csv").write_text(samples.CSV)
    (tmp_path / "rewards.csv").write_text(samples.REWARDS)
    plan = Plan(
        (tmp_path / "talk.csv", tmp_path / "talk.csv"),
        tmp_path / "d",
        options=Options(agent="0"),
        rewards=Rewards(tmp_path / "rewards.csv", "B2", "B6", where=("B4=1",)),
        success="reward > 0",
    )
    report = run_import(plan)
    assert report.outcomes == {"success": 2, "failure": 2}
    assert report.renamed == 2
    episodes = {e.episode_id: e for e in read_episodes(tmp_path / "d")}
    assert sorted(episodes) == ["d1", "d1#2", "d2", "d2#2"]
    assert episodes["d2"].metadata["reward"] == 2.0
    assert episodes["d2"].success and episodes["d2"].is_terminal


def test_episodes_without_an_outcome_are_kept_and_counted(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", [{"messages": samples.BARE_LIST}])
    assert run_import(Plan((path,), tmp_path / "d")).outcomes == {"unknown": 1}


def test_folders_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("b.jsonl", "a.jsonl"):
        jsonl(tmp_path / "logs" / name, [samples.TOOL_LOG])
    (tmp_path / "logs" / ".hidden").write_text("x")
    report = run_import(Plan((tmp_path / "logs",), tmp_path / "d"))
    assert [s.path.name for s in report.sources] == ["a.jsonl", "b.jsonl"]
    (tmp_path / "none").mkdir()
    with pytest.raises(PgvError, match="holds no files"):
        run_import(Plan((tmp_path / "none",), tmp_path / "d"))


def survive(path: Path, out: Path, name: str) -> None:
    """Import with skip; only a dataset or a PgvError may come of it."""
    plan = Plan((path,), out, format=name, on_error="skip", overwrite=True, redact=("common",))
    try:
        report = run_import(plan)
    except PgvError as error:
        assert str(error)
    else:
        assert report.summary is not None and report.summary.episodes > 0


def damaged(data: bytes, random: random.Random) -> bytes:
    kind = random.randrange(5)
    at = random.randrange(len(data))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at : at + 50] * 3 + data[at:]
    if kind == 3:
        return data.decode().encode(random.choice(["utf-16", "latin-1", "utf-8-sig"]), "replace")
    return data[:at] + b"[" * 3000 + data[at:]


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    source = random.Random(7)
    paths = samples.write(tmp_path)
    for _ in range(12):
        for name, path in paths.items():
            target = tmp_path / "damaged" / path.name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(damaged(path.read_bytes(), source))
            survive(target, tmp_path / "out", name.split()[0])


def swapped(value: Any, draw: Any) -> Any:
    """The same structure with some values replaced by something of another type."""
    if draw(st.integers(0, 9)) == 0:
        return draw(json_values)
    if isinstance(value, dict):
        return {key: swapped(inner, draw) for key, inner in value.items()}
    if isinstance(value, list):
        return [swapped(inner, draw) for inner in value]
    return value


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from([*samples.RECORDS, "webshop-human"]))
def test_swapped_types_never_end_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str
) -> None:
    folder = tmp_path_factory.mktemp("swapped")
    if name == "webshop-human":
        records = [swapped(page, data.draw) for page in samples.WEBSHOP_HUMAN]
    else:
        records = [swapped(samples.RECORDS[name][1], data.draw), samples.RECORDS[name][1]]
    survive(jsonl(folder / "x.jsonl", records), folder / "d", name)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(json_values, st.sampled_from(sorted(set(BUILT_IN) - {"rlds", "inspect"})))
def test_any_record_in_any_format(
    tmp_path_factory: pytest.TempPathFactory, record: Any, name: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    survive(jsonl(folder / "x.jsonl", [record]), folder / "d", name)


def test_a_line_of_ten_megabytes_and_deep_nesting(tmp_path: Path) -> None:
    big = {**samples.TOOL_LOG, "note": "x" * 10_000_000}
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    path = jsonl(tmp_path / "x.jsonl", [big, {**samples.TOOL_LOG, "note": deep}])
    report = run_import(Plan((path,), tmp_path / "d", on_error="skip", redact=("common",)))
    assert report.summary is not None and report.summary.episodes + report.rejected == 2
    assert max(len(str(e.metadata)) for e in read_episodes(tmp_path / "d")) > 10_000_000
