"""``pgv score``: every line gets its values, or one sentence says which line cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pgv_jax.cli import main as cli
from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic.value import ValueFunction
from pgv_jax.embed.encoder import HashEncoder
from tests.critic.toy import manifest, params

PAIRS = [
    {"task": "Go.", "observation": "Du bist im Flur. é", "thought": "left", "goal": "a"},
    {"observation": "In a hall.", "thought": "right", "goal": "b", "truth": 0.9, "id": [1, {}]},
    {"task": "Go.", "observation": "", "thought": "", "goal": ""},
]


@pytest.fixture
def folder(tmp_path, monkeypatch, toy_critic) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_critic, "critic")
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(pair) for pair in PAIRS))
    return tmp_path


@pytest.fixture
def pgv(capsys):
    def run(*extra: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.main(["score", "critic", "--in", "in.jsonl", "--out", "out.jsonl", *extra])
        return exit_.value.code, capsys.readouterr().err

    return run


def written(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]


def test_lines_keep_what_they_say_and_get_q_and_v(folder, pgv):
    status, said = pgv()
    assert status == 0 and "3 pairs" in said and "out.jsonl" in said
    value = ValueFunction.load("critic")
    for pair, got in zip(PAIRS, written(folder), strict=True):
        texts = [[pair.get(field, "")] for field in ("task", "observation", "thought", "goal")]
        q, v = value.q_pairs(*texts), value.v_pairs(texts[0], texts[1], texts[3])
        assert {key: got[key] for key in pair} == pair
        assert got.keys() - pair.keys() - {"task"} == {"q", "v"}
        assert (got["q"], got["v"]) == pytest.approx((float(q[0]), float(v[0])), abs=1e-6)
    assert "é" in (folder / "out.jsonl").read_text("utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["critic", "in.jsonl", "out.jsonl"]


def test_only_trained_heads_score(folder, pgv):
    artifacts.save("critic", params(), manifest(heads=["q"]))
    assert pgv()[0] == 0
    assert all("q" in line and "v" not in line for line in written(folder))


def test_the_output_may_be_the_input_and_blank_lines_are_nothing(folder, pgv):
    (folder / "in.jsonl").write_text("\n" + json.dumps(PAIRS[0]) + "\n  \n\n")
    assert pgv("--out", "in.jsonl")[0] == 0
    (line,) = (folder / "in.jsonl").read_text().splitlines()
    assert "q" in json.loads(line)


def test_half_a_character_comes_back_as_it_came(folder, pgv):
    (folder / "in.jsonl").write_text(json.dumps({**PAIRS[0], "note": "\ud800"}))
    assert pgv()[0] == 0
    text = (folder / "out.jsonl").read_text("utf-8", "surrogatepass")
    assert json.loads(text)["note"] == "\ud800"


def lines(*text: str):
    def write(folder: Path) -> None:
        (folder / "in.jsonl").write_text("\n".join(text))

    return write


def without(name: str):
    def remove(folder: Path) -> None:
        (folder / name).unlink()

    return remove


def truncate(folder: Path) -> None:
    path = folder / "critic" / "params.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def other_encoder(folder: Path) -> None:
    encoder = {"name": "hash:16", "fingerprint": HashEncoder(16).fingerprint}
    artifacts.save("critic", params(), manifest(encoder={**encoder, "fingerprint": "f" * 64}))


GOOD = json.dumps(PAIRS[0])


@pytest.mark.parametrize(
    ("before", "extra", "words"),
    [
        (without("in.jsonl"), (), ["in.jsonl", "does not exist"]),
        (lines(""), (), ["in.jsonl", "no lines"]),
        (lines("", " "), (), ["in.jsonl", "no lines"]),
        (lines(GOOD, "{not json"), (), ["in.jsonl:2", "not JSON"]),
        (lines(GOOD, "", "[1]"), (), ["in.jsonl:3", "object"]),
        (lines('{"observation": "a", "thought": "b"}'), (), ["in.jsonl:1", "goal"]),
        (lines('{"observation": 5, "thought": "b", "goal": "c"}'), (), ["1", "observation"]),
        (lines(GOOD.replace('"Go."', "5")), (), ["in.jsonl:1", "task"]),
        (lines("[" * 100_000), (), ["in.jsonl:1", "not JSON"]),
        (lines(GOOD), ("--out", "absent/out.jsonl"), ["absent/out.jsonl"]),
        (without("critic/manifest.json"), (), ["critic", "pgv train"]),
        (without("critic/params.safetensors"), (), ["params.safetensors", "missing"]),
        (truncate, (), ["params.safetensors", "damaged"]),
        (other_encoder, (), ["hash:16"]),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_no_output(folder, pgv, before, extra, words):
    before(folder)
    (folder / "out.jsonl").write_text("older")
    status, said = pgv(*extra)
    assert status == 2, said
    assert said.count("\n") == 1 and said.startswith("Error: ")
    assert all(word in said for word in words), said
    assert (folder / "out.jsonl").read_text() == "older"
    assert not list(folder.glob("*.partial"))
