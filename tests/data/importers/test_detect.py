"""Detection says what and why; doubt is an error that lists the candidates; users add formats."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.importers import detection
from pgv_jax.data.importers.base import Importer, Options, RecordImporter, Sample
from pgv_jax.data.importers.detection import BUILT_IN, detect, importer_of
from pgv_jax.data.importers.pipeline import Plan, run_import
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode, Step

from ..strategies import json_values


def documented() -> type[RecordImporter]:
    """The class in docs/importing.md, so that the page cannot be wrong."""
    page = (Path(__file__).parents[3] / "docs" / "importing.md").read_text("utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    found: type[RecordImporter] = names["Diary"]
    return found


Diary = documented()


class Point:
    """An entry point that is not installed."""

    def __init__(self, name: str, target: Any):
        self.name, self.value, self._target = name, f"x:{name}", target

    def load(self) -> Any:
        if isinstance(self._target, Exception):
            raise self._target
        return self._target


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Any:
    def add(*points: Point) -> None:
        monkeypatch.setattr(detection.REGISTRY, "_points", lambda: points)

    return add


def log(folder: Path, record: Any, name: str = "x.jsonl") -> Path:
    path = folder / name
    path.write_text(json.dumps(record) + "\n")
    return path


def test_a_users_importer(tmp_path: Path, register: Any) -> None:
    path = log(tmp_path, {"plan": "Rest.", "days": [["sun", "swim"]], "ok": True})
    with pytest.raises(PgvError, match="No importer recognises"):
        detect(path)
    register(Point("diary", Diary))
    found = detect(path)
    assert (found.importer.name, found.why) == ("diary", "the records have a plan and days")
    (episode,) = found.importer.read(path, Options())
    assert isinstance(episode, Episode) and episode.steps == (Step("sun", "Rest.", "swim"),)
    (bad,) = importer_of("diary").read(log(tmp_path, {"days": 3}), Options())
    assert "x.jsonl:1: record: does not fit this format (TypeError: 'int' object" in str(bad)


def test_an_importer_of_ones_own_needs_no_package(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "importing.md").read_text("utf-8")
    file = tmp_path / "diary.py"
    file.write_text(page.split("```python\n")[1].split("```")[0])
    path = log(tmp_path, {"plan": "Rest.", "days": [["sun", "swim"]], "ok": True})
    report = run_import(Plan((path,), tmp_path / "d", format=f"{file}:Diary"))
    (episode,) = read_episodes(tmp_path / "d")
    assert (episode.success, episode.is_terminal) == (True, True)
    assert report.sources[0].importer.name == "diary"
    for name, words in (
        (f"{file}:Dairy", "has no attribute 'Dairy'; it has .*Diary"),
        (f"{tmp_path}/no.py:Diary", "no.py does not exist"),
        (f"{file}:Step", "is not a subclass of pgv_jax.data.importers.base.Importer"),
    ):
        with pytest.raises(PgvError, match=words):
            importer_of(name)


def test_a_broken_importer_is_named(register: Any) -> None:
    register(Point("broken", RuntimeError("no")))
    with pytest.raises(PgvError, match=r"'broken' \(x:broken\) cannot be loaded"):
        detection.importers()
    register(Point("odd", dict))
    with pytest.raises(PgvError, match=r"'odd' \(x:odd\) is not a subclass"):
        detection.importers()


def test_doubt_is_an_error_that_lists_the_candidates(tmp_path: Path, register: Any) -> None:
    class Other(Diary):  # type: ignore[misc, valid-type]
        name = "calendar"

    register(Point("diary", Diary), Point("calendar", Other))
    with pytest.raises(PgvError, match=r"several formats: calendar \(.*\); diary \(.*--format"):
        detect(log(tmp_path, {"plan": "x", "days": []}))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"foo": 1, "bar": 2}, "records that have foo, bar"),
        (3, "a jsonl file"),
        ([], "a jsonl file"),
    ],
)
def test_an_unknown_file_is_described(tmp_path: Path, record: Any, words: str) -> None:
    with pytest.raises(PgvError, match=words):
        detect(log(tmp_path, record))
    with pytest.raises(PgvError, match=r"--format 'chat' is unknown; .*: episodes, openai"):
        importer_of("chat")
    with pytest.raises(PgvError, match="does not exist"):
        detect(tmp_path / "absent")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"foo": 1}, "openai: no column is a list of messages"),
        ({"m": [{"who": "x"}]}, r"openai: 'm\[0\]' has no speaker \(its keys are who\)"),
        ({"m": [{"role": "user", "content": "x"}, {"role": "elf"}]}, "the speaker 'elf'"),
        ({"step": 1, "action": "go"}, "steps: no column is named like episode"),
    ],
)
def test_the_error_says_why_not(tmp_path: Path, record: Any, words: str) -> None:
    with pytest.raises(PgvError, match=words) as error:
        detect(log(tmp_path, record))
    for name in BUILT_IN:
        assert name in str(error.value)


def test_anthropic_and_openai_do_not_compete(tmp_path: Path) -> None:
    block = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [block]}]
    assert detect(log(tmp_path, {"messages": chat})).importer.name == "anthropic"
    chat[1]["content"] = "b"
    assert detect(log(tmp_path, {"messages": chat})).importer.name == "openai"


@given(st.lists(json_values, max_size=3))
def test_no_importer_stumbles_over_a_sample(records: list[Any]) -> None:
    for kind in ("json", "jsonl", "csv", "text"):
        sample = Sample(Path("x"), kind, tuple(records), "Action: x\n> y")
        for importer in BUILT_IN.values():
            found = importer.detect(sample)
            assert 0 <= found.confidence <= 1
            assert isinstance(importer, Importer) and importer.about
