"""``pgv collect``: the same bytes however it was played, and every wrong word a sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pgv_jax.cli.commands.collect import collect as command
from pgv_jax.data.episodes import dataset_info, read_episodes
from pgv_jax.errors import PgvError
from pgv_jax.llm.scripted.server import ScriptedServer
from pgv_jax.rollout import collect as module
from pgv_jax.rollout.collect import collect
from pgv_jax.rollout.plan import Plan, Policy

PLAN = Plan("game24", 40, policy="scripted:skill=0.2/0.9", candidates=3)


def call(*args: object) -> Result:
    result = CliRunner().invoke(command, [str(arg) for arg in args])
    if isinstance(result.exception, PgvError):
        raise result.exception
    return result


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed collection writes."""
    out = tmp_path_factory.mktemp("whole") / "d"
    collect(PLAN, out, licence="ours")
    return out


def test_the_command_writes_a_dataset_and_leaves_nothing_else(whole, tmp_path):
    out = tmp_path / "deep" / "d"
    words = ("game24", "--policy", PLAN.policy, "--episodes", 40, "--candidates", 3)
    said = call(*words, "--out", out, "--workers", 1, "--licence", "ours")
    assert said.exit_code == 0 and "holds 40 episodes" in said.stdout
    assert content(out) == content(whole)
    assert [path.name for path in out.parent.iterdir()] == ["d"]
    info = dataset_info(out)
    assert info["licence"] == "ours"
    assert info["source"].startswith("pgv collect game24 --episodes 40 --policy scripted:skill")
    again = call(*words, "--out", out)
    assert "already held 40 episodes" in again.stdout and content(out) == content(whole)


@pytest.mark.slow
def test_processes_make_the_same_bytes(whole, tmp_path):
    shown: list[tuple[str, int, list[int]]] = []

    @contextmanager
    def bar(words, total):
        shown.append((words, total, []))
        yield shown[-1][2].append

    collect(PLAN, tmp_path / "d", workers=2, licence="ours", bar=bar)
    assert content(tmp_path / "d") == content(whole)
    (playing, total, done), (writing, *_, written) = shown
    assert (playing, total) == ("playing game24", 40) and done in ([0, 25, 40], [0, 15, 40])
    assert writing == "writing the dataset" and written == list(range(1, 41))


@pytest.mark.parametrize("after", [1, 30])
def test_an_interrupted_collection_goes_on_to_the_same_bytes(whole, tmp_path, monkeypatch, after):
    append, played = module.run_episodes.__globals__["EpisodeFile"].append, []

    def interrupted(self, episode):
        if len(played) == after:
            raise KeyboardInterrupt
        append(self, episode)
        played.append(episode.episode_id)

    with monkeypatch.context() as patch:
        patch.setattr("pgv_jax.rollout.runner.EpisodeFile.append", interrupted)
        with pytest.raises(BaseException) as stopped:
            collect(PLAN, tmp_path / "d", licence="ours")
    assert "KeyboardInterrupt" in repr(stopped.value) and not (tmp_path / "d").exists()
    parts = sorted((tmp_path / ".d.parts").glob("*.jsonl"))
    with parts[-1].open("ab") as file:
        file.write(b'{"episode_id": "torn')  # as a crash leaves it

    def counted(self, episode):
        append(self, episode)
        played.append(episode.episode_id)

    monkeypatch.setattr("pgv_jax.rollout.runner.EpisodeFile.append", counted)
    collect(PLAN, tmp_path / "d", licence="ours")
    assert content(tmp_path / "d") == content(whole)
    assert len(played) == len(set(played)) == 40


def test_parts_of_another_plan_are_refused_and_a_longer_plan_goes_on(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PgvError("no disk")

    monkeypatch.setattr("pgv_jax.data.episodes.write_dataset", refuse)
    with pytest.raises(PgvError, match="no disk"):
        collect(Plan("game24", 3), tmp_path / "d")
    monkeypatch.undo()
    with pytest.raises(PgvError, match=r"unfinished episodes with seed = 0, and this call has 1"):
        collect(Plan("game24", 3, seed=1), tmp_path / "d")
    collect(Plan("game24", 5), tmp_path / "d")
    collect(Plan("game24", 5), tmp_path / "e")
    assert content(tmp_path / "d") == content(tmp_path / "e")


def test_a_folder_that_holds_something_else_is_refused(whole, tmp_path):
    with pytest.raises(
        PgvError, match=r"already holds another dataset \(pgv collect .*--overwrite"
    ):
        collect(Plan("game24", 2), whole)
    (tmp_path / "file").write_text("x")
    with pytest.raises(PgvError, match="is not a dataset"):
        collect(Plan("game24", 2), tmp_path)
    assert collect(Plan("game24", 2), tmp_path / "d").episodes == 2
    assert collect(Plan("game24", 1), tmp_path / "d", overwrite=True).episodes == 1


def test_episodes_have_splits_skills_candidates_and_no_times(whole):
    env = PLAN.env()
    episodes = list(read_episodes(whole))
    assert {episode.split for episode in episodes} == {"train", "val", "test"}
    for episode in episodes:
        side = "test" if episode.split == "test" else "train"
        assert episode.task_id in env.task_ids(side)
        assert episode.metadata["skill"] in (0.2, 0.9)
        for step in episode.steps:
            assert len(step.candidates) == 3 and step.candidates[0].action == step.action
            assert "seconds" not in step.metadata
        assert "seconds" not in episode.metadata
    wins = {
        skill: [e.success for e in episodes if e.metadata["skill"] == skill] for skill in (0.2, 0.9)
    }
    assert sum(wins[0.9]) / len(wins[0.9]) > sum(wins[0.2]) / len(wins[0.2])


def test_a_plan_s_episodes_are_fixed_and_its_splits_kept():
    long = Plan("game24", 60, seed=3).specs()
    assert Plan("game24", 20, seed=3).specs() == long[:20]
    assert Plan("game24", 20, seed=4).specs() != long[:20]
    assert {spec.split for spec in Plan("game24", 30, split="test").specs()} == {"test"}
    assert {spec.split for spec in Plan("game24", 200, split="train").specs()} == {"train", "val"}
    many = Plan("game24", 250, split="test").specs()
    assert len({spec.episode_id for spec in many}) == 250
    skills = {(spec.task_id, spec.metadata["skill"]) for spec in many}
    assert len(skills) == 250  # a task that comes again is played with another skill


@pytest.mark.slow
def test_sigterm_ends_as_ctrl_c_does(tmp_path):
    words = ["game24", "--episodes", "5000", "--workers", "2", "--out", str(tmp_path / "d")]
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "pgv_jax.cli.main", "collect", *words]
    running = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True)
    while running.poll() is None and not list((tmp_path / ".d.parts").glob("*.jsonl")):
        time.sleep(0.05)
    running.terminate()
    said = running.communicate()[1]
    assert running.returncode == 130 and not (tmp_path / "d").exists(), said
    assert "Run the same command again to continue." in said and "leaked" not in said


def first_offered(request, index):
    action = next(line[2:] for line in str(request.messages).split("\\n") if line[:2] == "- ")
    return f"Thought: I take the first.\nAction: {action}"


def test_a_model_behind_an_api_collects(tmp_path):
    with ScriptedServer(first_offered) as server:
        words = ("--model", "openai:scripted", "--base-url", f"{server.url}/v1", "--key-env", "")
        said = call("game24", *words, "--episodes", 6, "--out", tmp_path / "d")
    assert said.exit_code == 0, said.output
    episodes = list(read_episodes(tmp_path / "d"))
    assert len(episodes) == 6 and len(server.calls) >= 18
    for episode in episodes:
        assert episode.metadata["model"] == "openai:scripted" and len(episode.steps) == 3
        assert all(step.thought == "I take the first." for step in episode.steps)
        assert all(step.metadata["prompt_tokens"] for step in episode.steps)


def test_a_model_persuades_a_model(tmp_path):
    """Each has a server, a client and a budget of its own; talks go on beside each other."""

    def persuader(request, index):
        return "Thought: Children matter.\nAction: Would you help the children?"

    asked_at_once = []

    def persuadee(request, index):
        asked_at_once.append(other.in_flight)
        over = "The talk is over" in request.messages[-1]["content"]
        return "Donation: $1.00" if over else "Tell me more."

    prices = tmp_path / "prices.yaml"
    prices.write_text("scripted: {input: 1.0, output: 2.0}\nother: {input: 1.0, output: 2.0}\n")
    with (
        ScriptedServer(persuader) as server,
        ScriptedServer(persuadee, latency=0.05, model="other") as other,
    ):
        words = ("--model", "openai:scripted", "--base-url", f"{server.url}/v1", "--key-env", "")
        heard = ("--voice", "openai:other", "--voice-base-url", f"{other.url}/v1")
        talk = ("persuasion", "--task-arg", "rounds=2", "--episodes", 4, *words, *heard)
        said = call(*talk, "--out", tmp_path / "d")
        assert said.exit_code == 0, said.output
        bill = ("--prices", prices, "--voice-dollars", 0.00001)
        with pytest.raises(PgvError, match="budget"):
            call(*talk, *bill, "--out", tmp_path / "e")
    assert max(asked_at_once) > 1
    episodes = list(read_episodes(tmp_path / "d"))
    assert len(episodes) == 4 and all(e.score == 0.5 and e.success for e in episodes)
    assert all("They say: Tell me more." in e.steps[1].observation for e in episodes)
    assert "--voice openai:other" in dataset_info(tmp_path / "d")["source"]


@pytest.mark.usefixtures("own_signals")
def test_a_model_s_interrupted_collection_goes_on_to_the_same_bytes(tmp_path):
    asked = []

    def interrupting(request, index):
        asked.append(request)
        if len(asked) == 8:  # the first answers of all six games are there, and no game is over
            os.kill(os.getpid(), signal.SIGINT)
        return first_offered(request, index)

    def play(server, out):
        reached = ["--base-url", f"{server.url}/v1", "--key-env", "none", "--concurrency", 6]
        return call("game24", "--model", "openai:scripted", "--episodes", 6, *reached, "--out", out)

    with ScriptedServer(first_offered) as server:
        assert play(server, tmp_path / "whole").exit_code == 0
    with ScriptedServer(interrupting) as server:
        assert play(server, tmp_path / "d").exit_code != 0 and not (tmp_path / "d").exists()
        assert play(server, tmp_path / "d").exit_code == 0
    assert len(asked) == 18  # what was answered is not asked again
    assert content(tmp_path / "d") == content(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("chess",), "Task 'chess' is unknown; use one of: .*game24"),
        (("game24", "--policy", "random"), "Policy 'random' is unknown; write scripted"),
        (("game24", "--policy", "scripted:skill=2"), "'skill=2' of policy .* is not understood"),
        (("game24", "--policy", "scripted:talent=1"), "'talent=1' of policy"),
        (("game24", "--task-arg", "cards"), "--task-arg 'cards' is not of the form NAME=VALUE"),
        (("game24", "--task-arg", "cards=5"), r"do not fit the task 'game24': .*'cards'"),
        (("textworld",), r"do not fit the task 'textworld': .*'folder'"),
        (("game24", "--task-arg", "data=/no/where"), "cannot be read"),
        (("game24", "--model", "m", "--dollars", "1", "--key-env", ""), "price of 'm'"),
        (("persuasion", "--task-arg", "voice=openai:m"), "voice='openai:m' cannot be written down"),
        (("persuasion", "--voice", "openai:m"), "name the agent's model, too, with --model"),
        (("game24", "--model", "m", "--voice", "m"), "'game24' has no seat for another model"),
    ],
)
def test_what_does_not_fit_is_a_sentence(tmp_path, words, sentence):
    with pytest.raises(PgvError, match=sentence):
        call(*words, "--out", tmp_path / "d", "--episodes", 2, "--workers", 1)
    assert not (tmp_path / "d").exists()


def test_a_place_that_cannot_be_written_to_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PgvError, match=r"file cannot be written to \(.*choose another --out"):
        call("game24", "--episodes", 2, "--workers", 1, "--out", tmp_path / "file" / "d")


def test_policies_are_read():
    assert Policy.parse("scripted") == Policy()
    assert Policy.parse("scripted:skill=0.4") == Policy((0.4,))
    assert Policy.parse("scripted:skill=0/1,expert_share=0.5") == Policy((0.0, 1.0), 0.5)


def test_the_plan_is_kept_beside_the_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "_play_here", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        collect(Plan("game24", 2, args={"max_steps": 5}), tmp_path / "d")
    kept = json.loads((tmp_path / ".d.parts" / "plan.json").read_text())
    assert kept["args"] == {"max_steps": 5} and kept["episodes"] == 2
