"""The local model's loop without the model: its configurations, and what its table says."""

from pathlib import Path

from pgv_jax.config import load_config
from pgv_jax.data.samples import sample_of
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.types import Candidate, Episode, Step
from pgv_jax.workflows import local_model
from pgv_jax.workflows.iterate import IterateConfig


def episode(task, won, *steps):
    """Steps: (what is chosen, {proposal: is it right?})."""
    made = [
        Step("Here.", action, action, candidates=tuple(_candidates(proposals)))
        for action, proposals in steps
    ]
    return Episode(f"{task}", task, "Win.", tuple(made), "There.", success=won)


def _candidates(proposals):
    return [Candidate(thought=a, action=a, correct=right) for a, right in proposals.items()]


def test_the_table_counts_right_choices_and_right_proposals_by_hand():
    right, wrong = {"go": True}, {"stay": False}
    first = [
        episode("a", False, ("stay", wrong), ("go", right)),
        episode("b", True, ("go", right), ("go", right)),
    ]
    critic = [
        episode(
            "a", True, ("go", {"stay": False, "go": True}), ("wait", {"wait": False, "nap": False})
        ),
        episode("b", True, ("stay", {"go": True, "stay": False})),
    ]
    told = local_model.figures({"first": first, "critic": critic})
    assert (told["first"]["success"], told["critic"]["success"]) == (0.5, 1.0)
    assert told["first"]["chosen_right"] == 3 / 4 and told["first"]["any_right"] is None
    assert told["critic"]["chosen_right"] == 1 / 3 and told["critic"]["any_right"] == 2 / 3
    assert told["critic"]["distinct"] == 2 and told["critic"]["minus"]["first"]["difference"] == 0.5
    assert told["first"]["minus"]["critic"]["difference"] == -0.5  # each with each


def test_every_arm_of_the_games_and_of_the_goals_can_be_configured():
    run = local_model.LocalRun(Path("run"), seed=2)
    critics = {name: run.config(name, Path("data")) for name in local_model.CRITICS}
    assert {name: critic.critic.q for name, critic in critics.items()} == {
        "critic": "imagined",
        "direct": "direct",
        "success_only": "direct",
        "monte_carlo": "direct",
        "agent_prm": "direct",
    }
    named = {name: critics[name].objective.name for name in ("monte_carlo", "agent_prm")}
    assert named == {"monte_carlo": "monte_carlo", "agent_prm": "agent_prm"}
    assert critics["success_only"].goals.future == 0 and critics["direct"].goals.future > 0
    assert {critic.train.seed for critic in critics.values()} == {2}
    played = {
        name: load_config(local_model.CONFIG, told, RolloutConfig)
        for name, told in local_model.ARMS.items()
    }
    asked = {name for name, settings in played.items() if settings.goals == ("The task is done.",)}
    # Whatever the goal of the episode is:
    assert asked == {"success_only", "monte_carlo", "agent_prm", "lookahead"}
    assert set(local_model.GOAL_ARMS) <= set(played)


def test_the_shipped_configurations_fit_together():
    play = load_config(local_model.CONFIG, (), RolloutConfig)
    critic = load_config(local_model.CRITIC)
    assert (play.client, play.answers, play.candidates, play.rounds) == ("local", "action", 6, 0)
    assert sample_of(critic.data.dataset) is not None
    assert (critic.texts.step, critic.texts.history, critic.critic.q) == ("action", 0, "imagined")


def test_lookahead_searches_the_same_games_with_the_same_model_as_the_arms_play():
    play = load_config(local_model.CONFIG, (), RolloutConfig)
    search = load_config(local_model.LOOKAHEAD, ("base=x",), IterateConfig)
    games = {**play.task.args, "train": 20}
    assert search.rollout.task.args == games and search.rollout.task.split == "train"
    for name in ("client", "answers", "rounds", "max_tokens", "history", "candidates", "api"):
        assert getattr(search.rollout, name) == getattr(play, name), name
    critic = load_config(local_model.CRITIC)
    assert (search.learn.texts, search.learn.data.encoder) == (critic.texts, critic.data.encoder)
