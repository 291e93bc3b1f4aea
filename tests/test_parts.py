"""The parts of an installation: a missing one is one sentence, and the core needs none."""

from __future__ import annotations

import html
import json
import re
import sys

import pytest

from pgv_jax.data.importers.files.tables import arrow_rows
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.compression import open_bytes
from pgv_jax.embed.tokens import folder_vocabulary
from pgv_jax.errors import PgvError
from pgv_jax.parts import MissingPart, missing, part, pip_line
from pgv_jax.report.pages import plots


def test_the_line_installs_an_extra_a_package_alone_or_both():
    assert pip_line("tasks") == "pip install 'pgv-jax[tasks]'"
    assert pip_line(alone="textworld") == "pip install --no-deps textworld"
    both = "pip install 'pgv-jax[tasks]' && pip install --no-deps textworld"
    assert pip_line("tasks", "textworld") == both


def test_a_missing_package_is_a_sentence_with_the_line():
    with pytest.raises(MissingPart) as caught, part("logs", "Reading a.parquet"):
        import no_such_package_here  # noqa: F401
    assert str(caught.value) == (
        "Reading a.parquet needs no_such_package_here, which is not installed; run: "
        "pip install 'pgv-jax[logs]'"
    )
    assert isinstance(missing("It", "b"), PgvError)


def test_a_module_that_fails_otherwise_or_is_ours_raises_its_own_error():
    with pytest.raises(ImportError, match="libgomp"), part("report", "A chart"):
        raise ImportError("libgomp.so.1: cannot open shared object file")
    with pytest.raises(ModuleNotFoundError, match=r"pgv_jax\.nothing"), part("report", "A chart"):
        import pgv_jax.nothing  # noqa: F401


def test_pages_say_in_place_of_a_chart_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    rows = [{"step": 1, "loss": 0.5}]
    line = "pip install 'pgv-jax[report]'"
    with pytest.raises(MissingPart, match=re.escape(line)):
        plots.learning_curve(rows)
    said = plots.or_sentence(plots.learning_curve)(rows)
    assert html.unescape(str(said)) == (
        f"<p>No chart here. A chart needs matplotlib, which is not installed; run: {line}</p>"
    )
    assert plots.or_sentence(plots.learning_curve)([]) is None


def test_tables_of_arrow_name_the_file_and_the_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(
        MissingPart, match=r"a\.parquet needs pyarrow, .*pip install 'pgv-jax\[logs\]'"
    ):
        list(arrow_rows(path, "parquet", Tally()))
    packed = tmp_path / "a.jsonl.zst"
    packed.write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(MissingPart, match=r"pip install 'pgv-jax\[logs\]'"):
        open_bytes(packed)


def test_a_tokenizer_of_hugging_face_names_the_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MissingPart, match=r"pip install 'pgv-jax\[hf\]'"):
        folder_vocabulary(tmp_path)


PLAY = """
import json, os, sys
for name in ("gymnasium", "textworld", "tantivy", "rapidfuzz"):
    sys.modules[name] = None  # as if it were not installed
import pgv_jax.cli.main as cli

for words in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if os.fork() == 0:
        os.dup2(1, 2)
        cli.main(words.split())
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def test_commands_that_play_say_the_line_and_exit_with_2(run_python, tmp_path):
    out = f"--out {tmp_path / 'out'}"
    commands = [f"collect game24 {out}", f"rollout rollout {out}", f"quickstart {out}"]
    commands.append(f"iterate agent_prm textworld/agent_prm {out}")
    said = run_python(PLAY, args=(json.dumps(commands),)).stdout.splitlines()
    sentence = (
        "Error: Playing a task needs gymnasium, which is not installed; run: "
        "pip install 'pgv-jax[tasks]'"
    )
    assert [line for line in said if line != "Loading JAX ..."] == [sentence, "2"] * len(commands)
