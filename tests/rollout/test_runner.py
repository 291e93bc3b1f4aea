import json
from dataclasses import replace

import numpy as np
import pytest

from pgv_jax.agents.agent import Agent
from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import ClientError, ScriptedClient
from pgv_jax.rollout.runner import EpisodeFile, run_episodes
from tests.agents.toy import ACTIONS, Corridor, says

SPECS = [
    EpisodeSpec(f"{task}/{seed}", task, "right", seed, metadata={"note": seed})
    for task in ("north wing", "south wing")
    for seed in range(3)
]


def right(env, spec):
    return Agent(says("go right"), correct=env.correct)


def timeless(episodes):
    """Episodes without the measured times."""

    def untimed(step):
        return replace(step, metadata={**step.metadata, "seconds": 0})

    return [
        replace(e, steps=tuple(map(untimed, e.steps)), metadata={**e.metadata, "seconds": 0})
        for e in episodes
    ]


def test_an_episode_by_hand(tmp_path):
    (episode,) = run_episodes(SPECS[:1], Corridor, right, tmp_path / "e.jsonl")
    assert episode.task == "Reach the last room." and episode.task_id == "north wing"
    assert [s.observation for s in episode.steps] == [f"You are in room {i}." for i in range(3)]
    assert {s.action for s in episode.steps} == {"go right"}
    assert [s.reward for s in episode.steps] == [0, 0, 1]
    assert episode.final_observation == "You are in room 3."
    assert (episode.success, episode.score, episode.is_terminal) == (True, 1.0, True)
    metadata = dict(episode.metadata)
    assert metadata.pop("seconds") >= 0
    assert metadata == {"note": 0, "arm": "right", "seed": 0, "steps": 3}
    assert episode.steps[0].candidates[0].correct is True


def test_what_is_returned_is_what_was_written(tmp_path):
    path = tmp_path / "new" / "e.jsonl"
    episodes = run_episodes(SPECS, Corridor, right, path)
    assert list(read_jsonl(path)) == episodes
    assert [e.episode_id for e in episodes] == [s.episode_id for s in SPECS]


def test_an_episode_that_runs_out_of_steps_has_failed_but_did_not_end(tmp_path):
    def wait(env, spec):
        return Agent(says("wait"))

    (episode,) = run_episodes(SPECS[:1], Corridor, wait, tmp_path / "e.jsonl", max_steps=4)
    assert len(episode.steps) == 4
    assert (episode.success, episode.score, episode.is_terminal) == (False, 0.0, False)


def test_a_goal_ends_the_episode_when_its_sentence_stands_in_the_note(tmp_path):
    spec = EpisodeSpec("g", "north wing", goal="You are in room 2.", metadata={"kind": "be in"})
    (episode,) = run_episodes([spec], Corridor, right, tmp_path / "a.jsonl")
    assert len(episode.steps) == 2 and episode.success and episode.is_terminal
    assert episode.metadata["goal"] == "You are in room 2."
    missed = replace(spec, goal="You are in room")  # part of a sentence is no sentence
    (episode,) = run_episodes([missed], Corridor, right, tmp_path / "b.jsonl")
    assert not episode.success and episode.final_observation == "You are in room 3."


def test_a_run_is_continued_where_it_stopped(tmp_path):
    path, played = tmp_path / "e.jsonl", []

    def watched(env, spec):
        played.append(spec.episode_id)
        return right(env, spec)

    whole = run_episodes(SPECS, Corridor, right, tmp_path / "whole.jsonl")
    run_episodes(SPECS[:2], Corridor, watched, path)
    heard = []
    resumed = run_episodes(SPECS, Corridor, watched, path, progress=lambda *p: heard.append(p[:2]))
    assert played == [s.episode_id for s in SPECS]
    assert heard == [(i, 6) for i in range(3, 7)]
    assert timeless(resumed) == timeless(whole)
    assert run_episodes(SPECS, Corridor, watched, path) == resumed and len(played) == 6


@pytest.mark.parametrize("cut", [1, 40, 10**9])
def test_a_torn_last_line_is_dropped_and_played_again(tmp_path, cut):
    path = tmp_path / "e.jsonl"
    whole = run_episodes(SPECS[:3], Corridor, right, path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:-1][:cut])
    assert timeless(run_episodes(SPECS[:3], Corridor, right, path)) == timeless(whole)
    assert len(path.read_bytes().splitlines()) == 3
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_a_file_of_one_torn_line_is_empty(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b"x" * (1 << 17))
    assert EpisodeFile(path).episodes == [] and path.read_bytes() == b""


def test_half_a_character_in_an_answer_or_a_note_costs_no_episode(tmp_path):
    half = "\ud83d"  # of an emoji whose other half was cut off

    class Cut(Corridor):
        def step(self, action):
            note, *rest = super().step(action)
            return (f"{note} {half}", *rest)

    def broken(env, spec):
        return Agent(ScriptedClient(lambda r, i: f"Thought: {half} right\nAction: go right"))

    path = tmp_path / "e.jsonl"
    (episode,) = run_episodes(SPECS[:1], Cut, broken, path)
    assert episode.success and episode.steps[0].thought == "\ufffd right"
    (written,) = read_jsonl(path)
    assert written.final_observation == "You are in room 3. \ufffd"


def test_ctrl_c_keeps_what_is_over(tmp_path):
    path = tmp_path / "e.jsonl"

    def stop(done, total, episode):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_episodes(SPECS, Corridor, right, path, concurrency=2, progress=stop)
    assert len(list(read_jsonl(path))) == 2
    episodes = run_episodes(SPECS, Corridor, right, path, concurrency=2)
    assert [e.episode_id for e in episodes] == [s.episode_id for s in SPECS]


def random_agent(env, spec):
    def policy(request, index):
        return f"Thought: x\nAction: {ACTIONS[(request.seed + index) % 3]}"

    return Agent(ScriptedClient(policy), candidates=2)


def test_concurrency_changes_nothing_but_the_order_of_lines(tmp_path):
    one = run_episodes(SPECS, Corridor, random_agent, tmp_path / "1.jsonl")
    four = run_episodes(SPECS, Corridor, random_agent, tmp_path / "4.jsonl", concurrency=4)
    assert timeless(one) == timeless(four)
    assert len({tuple(s.action for s in e.steps) for e in one}) > 1


def test_arms_in_the_same_state_see_the_same_proposals(tmp_path):
    seeds = []

    def watching(env, spec):
        def policy(request, index):
            seeds.append((spec.arm, request.seed))
            return "Thought: x\nAction: go right"

        return Agent(ScriptedClient(policy))

    specs = [EpisodeSpec(arm, "north wing", arm, 5) for arm in ("a", "b")]
    run_episodes(specs, Corridor, watching, tmp_path / "e.jsonl")
    assert [s for arm, s in seeds if arm == "a"] == [s for arm, s in seeds if arm == "b"]
    assert len(set(seeds)) == 6


def test_the_critic_reads_its_own_history_and_the_model_its_own(tmp_path):
    scored, read = [], []

    def make(env, spec):
        def policy(request, index):
            read.append(request.messages[1]["content"])
            return "Thought: x\nAction: go right"

        def scorer(task, observation, thoughts, goals):
            scored.append(observation)
            return np.zeros((len(thoughts), len(goals)))

        return Agent(ScriptedClient(policy), "critic", scorer)

    run_episodes(SPECS[:1], Corridor, make, tmp_path / "e.jsonl", critic_history=1, model_history=2)
    assert "You are in room 0." in scored[1] and "You are in room 0." not in scored[2]
    assert "go right" in scored[1]
    assert "What happened before" not in read[0]
    assert "You are in room 0." in read[2] and read[2].count("Action: go right") == 2


def test_the_critic_reads_of_a_candidate_what_it_was_trained_on(tmp_path):
    heard = []

    def make(env, spec):
        def scorer(task, observation, thoughts, goals):
            heard.extend(thoughts)
            return np.zeros((len(thoughts), len(goals)))

        said = "Thought: It is near.\nAction: go right"
        return Agent(ScriptedClient(lambda request, index: said), "critic", scorer)

    for form in ("thought", "action", "both"):
        out = tmp_path / f"{form}.jsonl"
        (episode,) = run_episodes(SPECS[:1], Corridor, make, out, critic_step=form)
        assert episode.steps[0].candidates[0].thought == "It is near."
    assert set(heard) == {"It is near.", "go right", "It is near.\nAction: go right"}


class Silent:
    """A model that does not answer some requests."""

    model = "silent"

    def __init__(self, kind, silent):
        self.kind, self.silent = kind, silent

    async def complete(self, request):
        if self.silent:
            raise ClientError(self.kind, f"No answer: {self.kind}.")
        return await says("go right").complete(request)


def test_a_silent_model_costs_its_episodes_only(tmp_path):
    path = tmp_path / "e.jsonl"

    def make(env, spec):
        return Agent(Silent("exhausted", silent=spec.seed == 1))

    with pytest.raises(
        PgvError, match=r"2 of 6 episodes could not be played\. The first: north wing/1"
    ):
        run_episodes(SPECS, Corridor, make, path)
    assert len(list(read_jsonl(path))) == 4
    assert len(run_episodes(SPECS, Corridor, right, path)) == 6


def test_a_failure_that_would_hit_every_request_stops_the_run(tmp_path):
    path = tmp_path / "e.jsonl"

    def make(env, spec):
        return Agent(Silent("budget", silent=spec.seed == 1))

    with pytest.raises(ClientError, match="No answer: budget"):
        run_episodes(SPECS, Corridor, make, path, concurrency=1)
    assert len(list(read_jsonl(path))) == 1


def test_a_refused_step_is_recorded_and_the_episode_goes_on(tmp_path):
    def make(env, spec):
        return Agent(Silent("refusal", silent=True))

    (episode,) = run_episodes(SPECS[:1], Corridor, make, tmp_path / "e.jsonl", max_steps=2)
    assert [s.metadata["error"] for s in episode.steps] == ["No answer: refusal."] * 2
    assert episode.success is False


def test_what_is_asked_wrongly_is_named(tmp_path):
    with pytest.raises(PgvError, match="'north wing/0' is asked for 2 times"):
        run_episodes(SPECS[:1] * 2, Corridor, right, tmp_path / "e.jsonl")
    with pytest.raises(PgvError, match="Concurrency is 0"):
        run_episodes(SPECS, Corridor, right, tmp_path / "e.jsonl", concurrency=0)
    assert run_episodes([], Corridor, right, tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("lacks", ["task", "admissible_actions", "success"])
@pytest.mark.parametrize("after", [0, 1])
def test_a_task_whose_info_lacks_something_is_a_sentence(tmp_path, lacks, after):
    class Short(Corridor):
        def step(self, action):
            *others, info = super().step(action)
            return *others, {k: v for k, v in info.items() if k != lacks or not after}

        def reset(self, **options):
            note, info = super().reset(**options)
            return note, {k: v for k, v in info.items() if k != lacks or after}

    if (lacks, after) == ("task", 1):
        assert len(run_episodes(SPECS[:1], Short, right, tmp_path / "e.jsonl")) == 1
        return
    with pytest.raises(PgvError, match=f"Task 'corridor' gives an info without {lacks}"):
        run_episodes(SPECS[:1], Short, right, tmp_path / "e.jsonl")
