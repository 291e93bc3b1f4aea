"""``pgv show`` as a person meets it: a dataset, a run, a critic, and what can be wrong."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgv_jax.cli.commands.show import show
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import write_dataset
from pgv_jax.data.storage.jsonl import episode_to_json
from pgv_jax.errors import PgvError
from pgv_jax.report.wording import number
from pgv_jax.texts.templates import SUCCESS
from tests.report.demo import make_logs
from tests.report.page_checks import check_page

EPISODE = make_logs(1, 1)[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("show")
    logs = make_logs(3, 2)
    write_dataset(folder / "data", logs)
    (folder / "run").mkdir()
    lines = [json.dumps(episode_to_json(episode)) + "\n" for episode in logs]
    for shard in (0, 1):
        (folder / "run" / f"episodes-{shard}-of-2.jsonl").write_text("".join(lines[shard::2]))
    return folder


def run(*args: object) -> str:
    return CliRunner().invoke(show, [str(a) for a in args], catch_exceptions=False).output


@pytest.mark.parametrize("source", ["data", "run", "run/episodes-0-of-2.jsonl"])
def test_an_episode_of_a_dataset_or_of_a_run(made: Path, tmp_path: Path, source: str):
    out = tmp_path / "deep" / "e.html"
    said = run(made / source, "--episode", EPISODE.episode_id, "--out", out)
    assert said.startswith(f"Wrote {out} (")
    page = check_page(out.read_text("utf-8"))
    assert f"Episode {EPISODE.episode_id}" in page.text
    assert "as the run recorded them" in page.text


@pytest.mark.parametrize("goals", [[], ["The fridge is open.", SUCCESS]])
def test_the_values_are_the_critics(made: Path, toy_critic: Path, tmp_path: Path, goals: list[str]):
    options = [word for goal in goals for word in ("--goal", goal)]
    out = tmp_path / "e.html"
    run(
        *(made / "data", "--episode", EPISODE.episode_id, "--out", out),
        *("--artifact", toy_critic, *options),
    )
    page = check_page(out.read_text("utf-8"))
    assert f"by the critic {toy_critic}" in page.text
    critic = ValueFunction.load(toy_critic)
    # With a history of two turns, the first observation is framed and has nothing before it.
    first = f"Observation: {EPISODE.steps[0].observation}"
    for goal in goals or [SUCCESS]:
        (v,) = critic.v(EPISODE.task, first, [goal])
        assert f"V of “{goal}” {number(float(v))}" in page.text
        thoughts = [c.thought for c in EPISODE.steps[0].candidates]
        for q in critic.q(EPISODE.task, first, thoughts, [goal])[:, 0]:
            words = number(float(q)) if not goals else f"{goal}  {number(float(q))}"
            assert words in page.text


def test_a_missing_episode_names_near_ones(made: Path, tmp_path: Path):
    with pytest.raises(PgvError, match=r"no episode 'log-2' among its 6; near it are: log/log-2/"):
        run(made / "run", "--episode", "log-2", "--out", tmp_path / "e.html")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["{}/nothing", "--episode", "e"], "nothing is no run"),
        (["{}/run", "--episode", "e", "--goal", "g"], "name it with --artifact"),
        (["{}/run", "--episode", EPISODE.episode_id, "--artifact", "{}"], "is not an artifact"),
    ],
)
def test_what_is_wrong_is_one_sentence(made: Path, tmp_path: Path, args: list[str], words: str):
    with pytest.raises(PgvError, match=words):
        run(*[a.replace("{}", str(made)) for a in args], "--out", tmp_path / "e.html")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(made: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PgvError, match="Cannot write"):
        run(
            *(made / "run", "--episode", EPISODE.episode_id),
            *("--out", tmp_path / "file" / "e.html"),
        )
