"""ALFWorld's games themselves; skipped, saying so, where the packages or the games are absent.

The games are found through ALFWORLD_DATA (the folder above json_2.1.1), or in an archive
``../shared/data/alfworld-games/*.tar.xz`` beside the repository.
"""

import json
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.tasks.alfworld.env import NOTHING_HAPPENS, AlfworldEnv
from pgv_jax.tasks.alfworld.games import KINDS, load_game
from pgv_jax.tasks.alfworld.planner import after
from pgv_jax.tasks.base import NOT_UNDERSTOOD, make_env
from pgv_jax.texts.templates import sentences

GIVEN = os.environ.get("ALFWORLD_DATA")
ARCHIVES = Path(__file__).parents[4] / "shared" / "data" / "alfworld-games"


def archived(folder: Path) -> Path | None:
    """One unseen game of each kind and a training game, from the archive."""
    archive = next(ARCHIVES.glob("*.tar.xz"), None)
    if archive is None:
        return None
    wanted = {("valid_unseen", kind) for kind in KINDS} | {
        ("train", KINDS[0]),
        ("valid_seen", KINDS[0]),
    }
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = member.name.split("/")
            key = (parts[1], parts[2].partition("-")[0]) if len(parts) > 4 else None
            if member.isfile() and key in wanted:
                tar.extract(member, folder, filter="data")
                wanted.remove(key)
    return folder / "json_2.1.1"


@pytest.fixture(scope="session")
def games(tmp_path_factory):
    for package in ("alfworld", "fast_downward"):
        pytest.importorskip(package, reason="ALFWorld's packages are not installed")
    if GIVEN:
        return Path(GIVEN) / "json_2.1.1"
    found = archived(tmp_path_factory.mktemp("alfworld"))
    return found or pytest.skip("no ALFWorld games: set ALFWORLD_DATA or add ../shared/data")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def env(games, cache):
    env = AlfworldEnv(games, test=6, cache=cache)
    yield env
    env.close()


def play(env, task_id, skill, seed, stop=50):
    """Yield the info of every state that is not an end."""
    rng = random.Random(seed)
    _, info = env.reset(options={"task": task_id})
    for _ in range(stop):
        yield info
        expert = env.expert_action()
        action = expert if expert and rng.random() < skill else rng.choice(env.admissible_actions())
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return


def test_walkthroughs_win_and_the_expert_follows_them(env):
    for task_id in env.task_ids("test"):
        _, info = env.reset(options={"task": task_id})
        walkthrough = load_game(env.folder, task_id, env.cache).walkthrough
        assert not info["success"] and env.distance() == len(walkthrough)
        for i, command in enumerate(walkthrough):
            assert env.expert_action() == command and env.correct(command)
            _, reward, terminated, truncated, info = env.step(command)
            assert terminated == (i == len(walkthrough) - 1) and not truncated
        assert reward == 1 and info["success"] and info["score"] == 1
        assert env.expert_action() is None and info["admissible_actions"] == []


def test_the_expert_finds_back_from_anywhere(env):
    """The planned distance falls by one a command and ends at success, also off the walkthrough."""
    for seed, task_id in enumerate(env.task_ids("test")):
        for _ in play(env, task_id, 0.1, seed, stop=14):
            pass
        left = env.distance()
        if left is None or env.expert_action() is None:
            continue
        env.max_steps = 0
        while left:
            action = env.expert_action()
            assert env.correct(action) and env.preferences([action]) == [1 / left]
            terminated = env.step(action)[2]
            left -= 1
            assert env.distance() == left
        assert terminated


def test_the_model_of_the_planner_is_the_library(env):
    """``after`` predicts every command's effect, and the situation agrees with the library."""
    for seed, task_id in enumerate(env.task_ids("test")):
        for _ in play(env, task_id, 0.4, seed, stop=12):
            world, moment = env._here()
            scene = moment.scene
            for command in random.Random(seed).sample(sorted(world.commands), 3):
                world.start(scene.game, moment.given)
                world.do(command)
                assert world.situation() == after(scene.house, scene.now, command), command
            world.start(scene.game, moment.given)


def test_commands_and_replies_are_textworlds(games, cache):
    """TextWorld's own environment for these games accepts and says the same (lists: any order)."""
    if sys.version_info >= (3, 13):
        pytest.skip("TextWorld's grammar for PDDL games needs Python 3.12 or older")
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs.pddl.pddl import PddlEnv

    def bag(text):
        return sorted(text.replace(",", " ").replace(".", " ").replace(" and ", " ").split())

    ours = AlfworldEnv(games, words="game", cache=cache)
    theirs = AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)))
    task_id = ours.task_ids("test")[2]
    theirs.load(json.loads((games / task_id / "game.tw-pddl").read_text("utf-8")))
    state = theirs.reset()
    text, info = ours.reset(options={"task": task_id})
    assert bag(text) == bag(state.feedback.replace("-= Welcome to TextWorld, ALFRED! =-", ""))
    rng = random.Random(0)
    for _ in range(6):
        assert info["admissible_actions"] == [c.strip() for c in state["admissible_commands"]]
        action = rng.choice([c for c in info["admissible_actions"] if c != "help"])
        state, _, done = theirs.step(action)
        text, _, ended, _, info = ours.step(action)
        assert bag(text) == bag(state.feedback) and ended == done
    ours.close()


def test_a_game_is_loaded_once(games, tmp_path, monkeypatch):
    task_id = AlfworldEnv(games).task_ids("train")[0]
    first = load_game(games, task_id, tmp_path)
    assert load_game(games, task_id, tmp_path) is first
    (kept,) = tmp_path.iterdir()
    load_game.cache_clear()
    monkeypatch.setattr("pgv_jax.tasks.alfworld.games._ground", lambda data: 1 / 0)
    assert load_game(games, task_id, tmp_path) == first
    load_game.cache_clear()
    kept.write_bytes(b"torn")
    with pytest.raises(PgvError, match=r"ALFWorld's game .* cannot be loaded"):
        load_game(games, task_id, tmp_path)


def test_restoring_a_snapshot_repeats_the_future(env):
    one, two = env.task_ids("test")[:2]
    states = list(play(env, one, 1.0, 0, stop=3))
    assert len(states) == 3
    here = env.snapshot()
    first = [env.step(action) for action in ("look", "nonsense", "inventory")]
    env.reset(options={"task": two})
    env.restore(here)
    assert [env.step(action) for action in ("look", "nonsense", "inventory")] == first


def test_it_follows_gymnasium_and_the_seed(env):
    check_env(env, skip_render_check=True)
    drawn = [env.reset(seed=seed) for seed in range(4)]
    assert drawn == [env.reset(seed=seed) for seed in range(4)]
    assert len({info["task_id"] for _, info in drawn}) > 1


@settings(max_examples=40)
@given(action=st.text(max_size=40))
def test_any_action_is_survived(games, cache, action):
    env = make_env("alfworld", folder=games, cache=cache)
    env.reset(seed=0)
    text, *_ = env.step(action)
    assert sentences(text) and (text.endswith(NOT_UNDERSTOOD) or action.strip())
    env.words = "game"
    assert env.step("  ")[0] == NOTHING_HAPPENS
    env.close()


def test_the_step_limit_truncates(games, cache):
    env = AlfworldEnv(games, max_steps=2, cache=cache)
    env.reset(seed=0)
    assert [env.step("wait")[2:4] for _ in range(2)] == [(False, False), (False, True)]
    with pytest.raises(PgvError, match="over; call reset"):
        env.step("wait")
    env.close()


def test_offered_commands_change_the_note_and_thoughts_are_one_sentence(env):
    for seed, task_id in enumerate(env.task_ids("test")):
        for info in play(env, task_id, 0.6, seed, stop=8):
            here, text = env.snapshot(), env._observation()
            lines = sentences(text)
            assert len(lines) == len(set(lines)) and " ".join(lines) == text
            for action in info["admissible_actions"]:
                thought = env.thought_for(action)
                assert sentences(thought) == [thought]
            for action in random.Random(seed).sample(info["admissible_actions"], 3):
                assert env.step(action)[0] != text, action
                env.restore(here)


def test_games_are_played_without_jericho(games):
    code = """
import sys
sys.modules["jericho"] = None  # as if it were not installed
from pgv_jax.tasks.base import make_env
print(make_env("alfworld", folder=sys.argv[1]).reset(seed=0)[1]["score"])
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(games)], cwd=root, capture_output=True, text=True
    )
    assert done.stdout == "0.0\n", done.stderr


def test_the_packages_are_asked_for_by_name_only_when_a_game_is_played(games):
    code = """
import sys
sys.modules["fast_downward"] = None
from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import make_env
env = make_env("alfworld", folder=sys.argv[1])
try:
    env.reset(seed=0)
except PgvError as error:
    print(error)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(games)], cwd=root, capture_output=True, text=True
    )
    assert "pip install 'pgv-jax[alfworld]'" in done.stdout, done.stderr
