"""The Beam pipeline, run by Beam's local runner: the bytes of ``write_dataset``."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from pgv_jax.data import beam, episodes
from pgv_jax.data.beam import import_beam, write_dataset_beam
from pgv_jax.data.episodes import read_episodes, write_dataset
from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.pipeline import Plan, run_import
from pgv_jax.data.storage import spool
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode, Step


def make(numbers: range, tasks: int = 10) -> list[Episode]:
    return [
        Episode(
            f"e{i}",
            f"t{i % tasks}",
            "Do it.",
            tuple(Step(f"o{i}.{t}", f"h{t}", f"a{t}", reward=1 / 3) for t in range(1 + i % 4)),
            "end",
            success=(True, False, None)[i % 3],
        )
        for i in numbers
    ]


def contents(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")
    }


def chat(number: int) -> str:
    return json.dumps(
        {
            "task_id": f"t{number}",
            "reward": number % 2,
            "messages": [
                {"role": "user", "content": f"Count to {number}, me@example.org"},
                {"role": "assistant", "content": "1"},
            ],
        }
    )


def test_without_beam_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(PgvError, match=r"pip install 'pgv-jax\[beam\]'"):
        write_dataset_beam(tmp_path / "d", [range(3)], make)


@pytest.fixture
def _beam() -> None:
    pytest.importorskip("apache_beam")


# Beam's own code warns; what it warns of is not ours to mend.
runs_beam = [pytest.mark.usefixtures("_beam"), pytest.mark.filterwarnings("ignore")]


class TestRunner:
    pytestmark = runs_beam

    def test_bytes_are_those_of_write_dataset(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool, "PART_BYTES", 2_000)
        monkeypatch.setattr(episodes, "SHARD_BYTES", 5_000)
        inputs = [range(0, 13), range(13, 13), range(13, 30), range(30, 40)]
        alone = write_dataset(tmp_path / "a", make(range(40)), source="s", licence="MIT")
        many = write_dataset_beam(tmp_path / "b", inputs, make, source="s", licence="MIT")
        assert len(list((tmp_path / "a").glob("*train*"))) > 1
        assert contents(tmp_path / "a") == contents(tmp_path / "b")
        assert (many.fingerprint, many.splits) == (alone.fingerprint, alone.splits)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
        again = write_dataset_beam(tmp_path / "a", inputs, make, source="s", licence="MIT")
        assert again.reused

    def test_an_id_in_two_inputs_and_bad_input_are_errors(self, tmp_path: Path) -> None:
        with pytest.raises(PgvError, match="'e2' occurs in two inputs"):
            write_dataset_beam(tmp_path / "d", [range(3), range(2, 5)], make)
        with pytest.raises(PgvError, match="no episodes"):
            write_dataset_beam(tmp_path / "d", [range(0)], make)
        with pytest.raises(PgvError, match="'e1' occurs twice"):
            write_dataset_beam(tmp_path / "d", [range(3)], lambda _: make(range(1, 3)) * 2)
        assert list(tmp_path.iterdir()) == []

    def test_cut_off_before_the_swap_it_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inputs = [range(0, 20), range(20, 40)]

        def cut(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(beam, "_finish", cut)
            with pytest.raises(KeyboardInterrupt):
                write_dataset_beam(tmp_path / "b", inputs, make, resume_key="k")
        work = tmp_path / ".b.beam"
        before = {path: path.stat().st_mtime_ns for path in work.rglob("part-*")}
        assert before
        with monkeypatch.context() as patch:
            patch.setattr(beam, "_finish", cut)
            with pytest.raises(KeyboardInterrupt):
                write_dataset_beam(tmp_path / "b", inputs, make, resume_key="k")
        assert before == {path: path.stat().st_mtime_ns for path in work.rglob("part-*")}
        write_dataset_beam(tmp_path / "b", inputs, make, resume_key="k")
        write_dataset(tmp_path / "a", make(range(40)))
        assert contents(tmp_path / "a") == contents(tmp_path / "b")
        # Under another key nothing of an earlier try is taken over.
        write_dataset_beam(tmp_path / "c", [range(7)], make, resume_key="other")
        assert len(list(read_episodes(tmp_path / "c"))) == 7

    def test_import_is_that_of_one_machine(self, tmp_path: Path) -> None:
        logs = tmp_path / "logs"
        logs.mkdir()
        for file in range(3):
            lines = [chat(10 * file + i) for i in range(10)]
            lines.insert(4, '{"messages": 3}')
            (logs / f"{file}.jsonl").write_text("\n".join(lines))

        def plan(out: str) -> Plan:
            return Plan(
                (logs,),
                tmp_path / out,
                format="openai",
                options=Options(),
                redact=("common",),
                on_error="skip",
                success="reward >= 1",
            )

        report = run_import(plan("a"))
        summary = import_beam(plan("b"))
        assert report.summary is not None
        assert report.summary.fingerprint == summary.fingerprint
        assert contents(tmp_path / "a") == contents(tmp_path / "b")
        rejected = [(tmp_path / f"{name}.rejected.jsonl").read_text() for name in "ab"]
        assert report.rejected == 3
        assert rejected[0] == rejected[1]
