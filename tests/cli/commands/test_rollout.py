"""``pgv rollout`` as a user meets it: what it writes, what stops it, and that it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgv_jax.cli import main as cli
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.llm.client import Request
from pgv_jax.llm.scripted.server import ScriptedServer
from pgv_jax.report.comparison.runs import read_runs
from pgv_jax.tasks.base import TASKS

KEY = "sk-secret-of-the-test"


def policy(request: Request, index: int) -> str:
    system = str(request.messages[0]["content"])
    if '"positive"' in system:
        return '{"positive": ["You are in room 3."], "negative": ["You are in room 0."]}'
    if '"decision"' in system:
        return '{"decision": "rewrite", "thought": "I go right, as the last room is there."}'
    if '{"action"' in system:
        return "Action: go right"
    return "Thought: I go on.\nAction: go right"


@pytest.fixture(autouse=True)
def corridor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that costs nothing, and a key that must not be told."""
    monkeypatch.setitem(TASKS, "corridor", "tests.agents.toy:Corridor")
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "rollout.yaml"
    path.write_text("task: {name: corridor, repeats: 2, seed: 7}\nconcurrency: 2\n")
    return path


class Outcome:
    """Exit status, everything that was said, and the record."""

    def __init__(self, status: int, said: str, out: Path):
        self.status, self.said, self.out = status, said, out

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.out / "run.json").read_text())

    @property
    def error(self) -> str:
        (line,) = [line for line in self.said.splitlines() if line.startswith("Error: ")]
        return line


def pgv(capsys: pytest.CaptureFixture[str], config: Path, out: Path, *words: str) -> Outcome:
    with pytest.raises(SystemExit) as ended:
        cli.main(["rollout", str(config), *words, "--out", str(out)])
    captured = capsys.readouterr()
    status = ended.value.code
    assert isinstance(status, int)
    return Outcome(status, captured.out + captured.err, out)


def api(server: ScriptedServer, *more: str) -> list[str]:
    address = f"api.base_url={server.url}/v1"
    return ["client=openai:scripted", address, "api.key_env=TEST_KEY", "api.tries=2", *more]


def test_a_scripted_run_from_config_to_comparison(capsys, config, tmp_path):
    done = pgv(capsys, config, tmp_path / "a", "client=scripted:player:1")
    assert done.status == 0 and "success 4 of 4" in done.said
    episodes = list(read_jsonl(tmp_path / "a" / "episodes.jsonl"))
    assert {e.task_id for e in episodes} == {"north wing", "south wing"}
    assert {e.metadata["seed"] for e in episodes} == {7, 8}
    assert all(e.metadata["arm"] == "react" and e.success for e in episodes)
    assert all(s.metadata["seconds"] >= 0 for e in episodes for s in e.steps)
    record = done.record
    assert record["state"] == "finished" and record["succeeded"] == 4
    assert set(record["prompts"]) == {"act"} and record["versions"]["pgv_jax"]
    assert list(read_runs([tmp_path / "a"])) == ["a"]


def test_shards_play_all_tasks_once_and_compare_merges_them(capsys, config, tmp_path):
    for part in ("0/2", "1/2"):
        assert pgv(capsys, config, tmp_path / "a", "--shard", part).status == 0
    assert sorted(p.name for p in (tmp_path / "a").glob("[!.]*")) == [
        *("episodes-0-of-2.jsonl", "episodes-1-of-2.jsonl", "run-0-of-2.json", "run-1-of-2.json")
    ]
    whole = pgv(capsys, config, tmp_path / "b")
    assert whole.status == 0
    merged, alone = read_runs([tmp_path / "a", tmp_path / "b"]).values()
    ids = [sorted(e.episode_id for e in run) for run in (merged, alone)]
    assert ids[0] == ids[1] and len(ids[0]) == 4
    assert "shards = 2, and this one has 1" in pgv(capsys, config, tmp_path / "a").error
    assert "of the form I/N" in pgv(capsys, config, tmp_path / "c", "--shard", "2/2").error
    assert "has no tasks" in pgv(capsys, config, tmp_path / "c", "--shard", "5/6").error


def test_a_model_plays_the_other_seat(capsys, config, tmp_path):
    """The persuadee is a model behind another address; a cut run hears it again, unpaid."""

    def persuadee(request: Request, index: int) -> str:
        over = "The talk is over" in str(request.messages[-1]["content"])
        return "Donation: $2.00" if over else "Why should I?"

    config.write_text("task: {name: persuasion, args: {rounds: 2, train: 1, test: 2}}\n")
    with (
        ScriptedServer(policy) as server,
        ScriptedServer(persuadee, key=KEY, model="other") as other,
    ):
        voice = ["voice.client=openai:other", f"voice.api.base_url={other.url}/v1"]
        words = [*api(server), *voice, "voice.api.key_env=TEST_KEY"]
        done = pgv(capsys, config, tmp_path / "a", *words)
        assert done.status == 0 and "success 2 of 2" in done.said, done.said
        assert done.record["partner"]["model"] == "other"
        assert done.record["partner_spent"]["requests"] == len(other.calls) == 6
        (tmp_path / "a" / "episodes.jsonl").unlink()
        again = pgv(capsys, config, tmp_path / "a", *words)
        assert again.status == 0 and len(other.calls) == 6
        refused = [*words[:-1], "voice.api.key_env=none"]
        wrong = pgv(capsys, config, tmp_path / "b", *refused)
    assert wrong.status == 2 and KEY not in wrong.said
    assert all(e.score == 1.0 for e in read_jsonl(tmp_path / "a" / "episodes.jsonl"))
    for words, sentence in (
        (["task.args={voice: openai:m}"], "cannot be written down; name the model with voice"),
        (["task.name=game24", "voice.client=openai:m"], "'game24' has no seat for another model"),
    ):
        assert sentence in pgv(capsys, config, tmp_path / "c", *words).error


def test_an_api_model_refines_within_its_budget_and_the_run_continues(capsys, config, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("scripted: {input: 1.0, output: 2.0}\n")
    words = ["strategy=refine", "scores=none", "refine.goals=1", f"budget.prices={prices}"]
    with ScriptedServer(policy, key=KEY) as server:
        words = api(server, *words, "task.args={last: 3}", "task.ids=[north wing, south wing]")
        stopped = pgv(capsys, config, tmp_path / "a", *words, "budget.requests=20")
        assert stopped.status == 2 and "The budget of 20 requests stops the run" in stopped.error
        assert len(server.calls) == 20
        assert stopped.record["state"] == "stopped" and "budget" in stopped.record["reason"]
        assert f"To continue: pgv rollout {config} client=openai:scripted" in stopped.said
        assert "'task.ids=[north wing, south wing]' budget.requests=20" in stopped.said
        done = pgv(capsys, config, tmp_path / "a", *words, "budget.requests=200")
        assert done.status == 0 and "success 4 of 4" in done.said
        assert set(server.paid_calls().values()) == {1}  # nothing was asked twice
        spent = done.record["spent"]
        assert spent["requests"] == len(server.calls) and spent["dollars"] > 0
    (first, *_) = read_jsonl(tmp_path / "a" / "episodes.jsonl")
    refinement = first.steps[0].metadata["refinement"]
    assert refinement["outcome"] == "rewritten" and refinement["rounds"][0]["goals"]
    assert refinement["prompts"] == {
        name: version
        for name, version in done.record["prompts"].items()
        if not name.startswith("act")
    }
    assert first.steps[0].metadata["prompt_tokens"] > 0
    assert first.steps[0].thought == "I go right, as the last room is there."
    for path in (tmp_path / "a").rglob("*"):
        assert path.is_dir() or KEY not in path.read_text()


FAILURES = {
    "key": (["api.key_env=WRONG_KEY"], "refused the key in WRONG_KEY"),
    "no key": (["api.key_env=NOT_SET"], "environment variable NOT_SET holds no key"),
    "model": (["client=openai:other"], "Model 'other' is unknown to"),
    "context": ([], "The request is too long for 'scripted'"),
    "content_filter": ([], "The content filter of"),
    "empty": ([], "answered without any choice"),
    "tool_calls": ([], "answered with tool calls where text was expected"),
    "refusal": ([], "refused to answer"),
    "quota": ([], "has no credit left"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_is_one_sentence_and_the_run_goes_on_later(
    capsys, config, tmp_path, monkeypatch, name
):
    words, sentence = FAILURES[name]
    monkeypatch.setenv("WRONG_KEY", "sk-wrong-and-secret")
    faults = {name: 1.0} if not words else {}
    with ScriptedServer(policy, key=KEY, faults=faults) as server:
        failed = pgv(capsys, config, tmp_path / "a", *api(server), *words)
        assert failed.status == 2 and sentence in failed.error
        assert "sk-" not in failed.said and "Traceback" not in failed.said
        if name != "no key":
            assert sentence in failed.record["reason"] and failed.record["state"] == "stopped"
            assert "sk-" not in json.dumps(failed.record)
        assert len(server.calls) <= 12
        server.faults = {}
        again = [] if name == "model" else ["--shard", "0/1"]
        out = tmp_path / ("b" if name == "model" else "a")  # another model is another run
        done = pgv(capsys, config, out, *api(server), *again)
        assert done.status == 0 and "success 4 of 4" in done.said


def test_a_host_that_cannot_be_reached(capsys, config, tmp_path):
    with ScriptedServer(policy) as server:
        words = api(server)
    failed = pgv(capsys, config, tmp_path / "a", *words)  # it has just gone
    assert failed.status == 2 and "cannot be reached; check base_url" in failed.error
    assert failed.record["state"] == "stopped"


@pytest.mark.slow
@pytest.mark.usefixtures("own_signals")
def test_ctrl_c_ends_the_steps_in_flight_and_says_how_to_go_on(capsys, config, tmp_path):
    import os
    import signal

    def interrupting(request: Request, index: int) -> str:
        if len(server.calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return policy(request, index)

    with ScriptedServer(interrupting, latency=0.01) as server:
        stopped = pgv(capsys, config, tmp_path / "a", *api(server))
        assert stopped.status == 130 and stopped.record["state"] == "interrupted"
        assert "Stopping when the calls in flight have ended" in stopped.said
        assert "Interrupted. To continue: pgv rollout" in stopped.said
        assert all(call.delivered for call in server.calls) and len(server.calls) <= 6
        done = pgv(capsys, config, tmp_path / "a", *api(server))
        assert done.status == 0 and "success 4 of 4" in done.said
        assert set(server.paid_calls().values()) == {1}


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["strategy=refin"], "Strategy 'refin' is unknown; use one of: react"),
        (["stratgy=refine"], "unknown key 'stratgy'; did you mean strategy?"),
        (["strategy=best-of-n"], "needs a critic; give artifact=FOLDER"),
        (
            ["strategy=best-of-n", "scores=guess"],
            "takes one of: critic, shuffled, foreseen, foreseen-shuffled, majority, own, oracle",
        ),
        (["strategy=refine", "scores=oracle"], "bounds best-of-n alone"),
        (["strategy=best-of-n", "artifact=nowhere"], "nowhere is not an artifact"),
        (["weights=[1,2]"], "2 weights for 1 goals"),
        (["client=scripted:proposr"], "scripted models are scripted:proposer"),
        (["client=scripted:player:well"], "ends in 'well', where a number belongs"),
        (["task.args={lst: 4}"], "It takes last, max_steps; task.args={} gives none."),
        (["task.ids=[attic]"], "Task 'attic' of task.ids is not one of 'corridor'"),
        (["task.goals=4"], "has no run-time goals"),
        (["task.name=corridors"], "Task 'corridors' is unknown"),
        (["prompts=nowhere"], "The folder of prompts nowhere does not exist"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_is_played(
    capsys, config, tmp_path, words, sentence
):
    failed = pgv(capsys, config, tmp_path / "a", *words)
    assert failed.status == 2 and sentence in failed.error
    assert not (tmp_path / "a").exists()


def test_episodes_without_any_answer_are_told_also_by_the_run_that_goes_on(
    capsys, config, tmp_path
):
    words = ["concurrency=1", "task.args={last: 3, max_steps: 4}"]
    with ScriptedServer(policy, key=KEY, faults={"empty": 1.0}) as server:
        mute = pgv(capsys, config, tmp_path / "a", *api(server), *words)
        assert mute.status == 2 and "None of the first 10 decisions got an answer" in mute.error
        server.faults = {}
        done = pgv(capsys, config, tmp_path / "a", *api(server), *words)
    for run in (mute, done):  # two episodes of four steps, then the tenth decision
        assert (
            run.record["unanswered_episodes"] == 2 and sum(run.record["unanswered"].values()) >= 8
        )
    assert done.status == 0 and done.record["finished"] == 4
    assert "the model never answered; they count as lost, and say nothing of it" in done.said


def test_a_folder_of_another_run_is_refused(capsys, config, tmp_path):
    assert pgv(capsys, config, tmp_path / "a").status == 0
    refused = pgv(capsys, config, tmp_path / "a", "temperature=0.5")
    assert "holds a rollout with temperature = 1.0, and this one has 0.5" in refused.error
    assert "episodes are saved" not in refused.said and "To continue" not in refused.said
    more = pgv(capsys, config, tmp_path / "a", "task.repeats=3", "concurrency=1")
    assert more.status == 0 and "6 of 6 episodes" in more.said


def test_prompts_of_ones_own_are_used_and_known_by_their_hash(capsys, config, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "act.txt").write_text("Act well.\n")
    with ScriptedServer(policy) as server:
        mine = pgv(capsys, config, tmp_path / "a", *api(server), f"prompts={tmp_path / 'mine'}")
        assert server.calls[0].request.messages[0]["content"] == "Act well."
        assert server.calls[0].request.response_format is None  # it says the form itself
        server.forget()
        shipped = pgv(capsys, config, tmp_path / "b", *api(server))
        assert server.calls[0].request.response_format["type"] == "json_schema"
        (tmp_path / "mine" / "act_choice.txt").write_text("Choose well.\n")
        server.forget()
        both = pgv(capsys, config, tmp_path / "c", *api(server), f"prompts={tmp_path / 'mine'}")
        assert server.calls[0].request.messages[0]["content"] == "Choose well."
    assert mine.record["prompts"]["act"] != shipped.record["prompts"]["act"]
    chosen = [run.record["prompts"]["act_choice"] for run in (shipped, both)]
    assert chosen[0] != chosen[1] and "act_choice" not in mine.record["prompts"]


def test_answers_may_be_an_action_alone(capsys, config, tmp_path):
    def short(request, index):
        return '{"action": "go right"}'

    with ScriptedServer(short) as server:
        done = pgv(capsys, config, tmp_path / "a", *api(server), "answers=action")
        asked = server.calls[0].request
    schema = asked.response_format["json_schema"]["schema"]
    assert list(schema["properties"]) == schema["required"] == ["action"]
    assert [message["role"] for message in asked.messages] == ["system", "user"]
    assert asked.messages[1]["content"] == "Reach the last room.\nYou are in room 0."
    assert done.status == 0 and "act_action" in done.record["prompts"]
    step = next(read_jsonl(tmp_path / "a" / "episodes.jsonl")).steps[0]
    assert (step.thought, step.action) == ("go right", "go right")


def test_random_moves_cost_no_call_and_are_marked(capsys, config, tmp_path):
    with ScriptedServer(policy) as server:
        done = pgv(capsys, config, tmp_path / "a", *api(server), "random=1")
        assert not server.calls
    assert done.status == 0
    episodes = list(read_jsonl(tmp_path / "a" / "episodes.jsonl"))
    assert all(step.metadata["random"] is True for e in episodes for step in e.steps)
    refused = pgv(capsys, config, tmp_path / "b", "strategy=mcts", "artifact=x", "random=0.3")
    assert (
        "random=0.3 is for strategies that propose and select, and mcts does more" in refused.error
    )


def test_a_goal_at_run_time_is_what_the_model_is_told(capsys, config, tmp_path):
    goal = "You are in room 2."
    with ScriptedServer(policy) as server:
        done = pgv(capsys, config, tmp_path / "a", *api(server), f"task.goal={goal}")
        assert goal in str(server.calls[0].request.messages[1]["content"])
    assert done.status == 0
    episodes = list(read_jsonl(tmp_path / "a" / "episodes.jsonl"))
    assert all(e.success and e.final_observation == goal for e in episodes)
    assert all(e.task == "Reach the last room." and e.metadata["goal"] == goal for e in episodes)
