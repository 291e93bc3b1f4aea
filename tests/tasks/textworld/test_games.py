import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.tasks.textworld import games as textworld_games
from pgv_jax.tasks.textworld.env import TextWorldEnv
from pgv_jax.tasks.textworld.games import GameSpec, ensure_games, game_specs, load_game


@given(
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.integers(0, 5),
    st.sampled_from([1, 6, 9, 12]),
    st.booleans(),
    st.booleans(),
)
def test_the_id_holds_the_whole_specification(seed, recipe, take, rooms, cook, cut):
    spec = GameSpec(seed, recipe, take, rooms, cook, cut)
    assert GameSpec.of(spec.game_id) == spec


def test_splits_share_no_game_and_grow_by_their_end():
    train, test = game_specs("train", 24), game_specs("test", 12)
    assert len({spec.game_id for spec in train + test}) == 36
    assert not {spec.seed for spec in train} & {spec.seed for spec in test}
    assert game_specs("train", 30)[:24] == train
    assert game_specs("train", 6, first=24) == game_specs("train", 30)[24:]


def test_bad_names_are_sentences():
    with pytest.raises(PgvError, match="ids read like"):
        GameSpec.of("zork")
    with pytest.raises(PgvError, match="'val' has no games"):
        game_specs("val", 3)
    with pytest.raises(PgvError, match="1, 6, 9 or 12 rooms, not 2"):
        game_specs("train", 3, rooms=2)
    for shape in ((1, 2), (0, 0), (6, 1), (1,)):
        with pytest.raises(PgvError, match="give pairs of"):
            game_specs("train", 3, shapes=[(1, 1), shape])


def test_a_small_game_is_one_kitchen_and_four_commands(tmp_path):
    env = TextWorldEnv(tmp_path, 1, 1, rooms=1, shapes=[(1, 1)], cook=False, cut=False)
    assert env.task_ids() == ("cooking-r1t1g1rawwhole-1000", "cooking-r1t1g1rawwhole-5000")
    note, told = env.reset(options={"task": "cooking-r1t1g1rawwhole-1000"})
    assert note.startswith("You are in the kitchen. You still need the red onion. The meal still")
    assert told["admissible_actions"] == ["open fridge", "open oven", "take cookbook from counter"]
    for command in ("open fridge", "take red onion from fridge", "prepare meal", "eat meal"):
        assert not told["success"]
        _, _, ended, _, told = env.step(command)
    assert ended and told["success"]


def test_only_missing_games_are_generated_and_an_interruption_loses_one(tmp_path, monkeypatch):
    made = []

    def generate(spec, path):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(spec)
        path.write_text("{}")

    monkeypatch.setattr(textworld_games, "make_game", generate)
    specs, heard = game_specs("train", 4), []
    with pytest.raises(KeyboardInterrupt):
        ensure_games(tmp_path, specs, lambda *progress: heard.append(progress))
    assert heard == [(1, 4), (2, 4)]
    monkeypatch.setattr(textworld_games, "make_game", lambda spec, path: made.append(spec))
    assert ensure_games(tmp_path, specs) == 2
    assert tuple(made) == specs


def test_generation_is_one_move_and_repeats_itself(tmp_path, games):
    spec = game_specs("train", 1)[0]
    ensure_games(games, [spec])
    ensure_games(tmp_path, [spec])
    name = f"{spec.game_id}.json"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    facts = [sorted(map(str, load_game(folder, spec).world.facts)) for folder in (games, tmp_path)]
    assert facts[0] == facts[1]


def test_a_damaged_game_file_is_named(tmp_path):
    spec = game_specs("train", 1)[0]
    path = tmp_path / f"{spec.game_id}.json"
    path.write_text('{"version": 1, "wor')
    with pytest.raises(PgvError, match=rf"{path} cannot be read .* delete it"):
        load_game(tmp_path, spec)


def test_games_are_made_and_played_without_jericho(tmp_path):
    code = """
import sys
sys.modules["jericho"] = None  # as if it were not installed
from pgv_jax.tasks.base import make_env
env = make_env("textworld", folder=sys.argv[1], train=1, test=0)
_, info = env.reset(seed=0)
while (action := env.expert_action()) is not None:
    info = env.step(action)[-1]
print(info["success"])
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True
    )
    assert done.stdout == "True\n", done.stderr


THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from pgv_jax.tasks.textworld.env import TextWorldEnv

sys.setswitchinterval(1e-6)
names = sys.argv[2:]
gate = Barrier(len(names))

def first(name):
    env = TextWorldEnv(sys.argv[1], train=6)
    gate.wait()
    return env.reset(options={"task": name})[0]

with ThreadPoolExecutor(len(names)) as pool:
    print(*pool.map(first, names), sep="\\n")
"""


def test_threads_load_their_first_games_at_the_same_time(games, run_python):
    """Without the lock TextWorld's parser, one for all threads, fails here each time."""
    specs = game_specs("train", 6)
    ensure_games(games, specs)
    names = [spec.game_id for spec in specs]
    together = run_python(THREADS, args=(str(games), *names)).stdout.splitlines()
    env = TextWorldEnv(games, train=6)
    assert together == [env.reset(options={"task": name})[0] for name in names]
