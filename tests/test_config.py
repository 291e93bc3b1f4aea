"""The configuration: a typed tree, whose errors name the key, the value and the near miss."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from yaml import safe_load

from pgv_jax.config import SHIPPED, Config, config_file, load_config
from pgv_jax.errors import PgvError
from pgv_jax.objectives.iql import GCIQL
from pgv_jax.objectives.lookup import REGISTRY, saved_objective
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.tasks.base import TASKS
from pgv_jax.workflows.iterate import IterateConfig

CONFIGS = sorted(path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*.yaml"))
ROLLOUTS = [name for name in CONFIGS if Path(name).stem.startswith("rollout")]
ROLLOUTS.append("textworld/local.yaml")
ITERATED = ("agent_prm", "inverse_prm", "stl", "local_stl")
ITERATIONS = [name for name in CONFIGS if Path(name).stem in ITERATED]

KEYS = """
data.dataset data.encoder texts.history
objective.name objective.gamma objective.expectile objective.head
goals.form goals.current goals.future goals.random goals.outcome
critic.hidden critic.ensemble train.steps train.batch train.lr train.seed train.early_stop mesh.data
""".split()  # noqa: SIM905


@pytest.fixture
def yaml(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "my.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refusal(path, *overrides: str) -> str:
    with pytest.raises(PgvError) as error:
        load_config(path, overrides)
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


def test_the_keys_that_stay():
    """Other tools write these names; renaming one breaks them."""
    tree = Config().model_dump()
    for key in KEYS:
        section, name = key.split(".")
        assert name in tree[section], key


def test_a_file_changes_what_it_names_and_an_override_wins(yaml):
    path = yaml("objective: {gamma: 0.9}\ntrain: {steps: 7, seed: 3}\n")
    config = load_config(path, ["train.steps=8", "train.steps=9"])
    assert (config.objective.gamma, config.train.seed, config.train.steps) == (0.9, 3, 9)
    assert config.train.batch == Config().train.batch
    assert config.objective.expectile == Config().objective.expectile


def test_nothing_is_the_defaults(yaml):
    assert load_config(None) == load_config(yaml("")) == load_config(yaml("# none\n")) == Config()


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("train.lr=1e-4", "train", "lr", 1e-4),  # YAML 1.1 reads this as a word
        ("train.lr=3.0e-4", "train", "lr", 3e-4),
        ("objective.gamma=1", "objective", "gamma", 1.0),
        ("critic.hidden=[64, 32]", "critic", "hidden", (64, 32)),
        ("critic.layer_norm=true", "critic", "layer_norm", True),
        ("data.dataset=a=b/c", "data", "dataset", "a=b/c"),
        ("data.store=null", "data", "store", None),
        ("data.encoder=hash:256", "data", "encoder", "hash:256"),
    ],
)
def test_an_override_is_read_as_yaml(override, section, name, value):
    got = getattr(getattr(load_config(None, [override]), section), name)
    assert got == value and type(got) is type(value)


def test_a_number_in_a_file_may_have_an_exponent(yaml):
    assert load_config(yaml("train:\n  lr: 1e-4\n")).train.lr == 1e-4


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.setps=5", "train.steps"),
        ("objective.gama=0.9", "objective.gamma"),
        ("steps=5", "train.steps"),
        ("goal.form=note", "goals.form"),
        ("train.hidden=[3]", "critic.hidden"),
    ],
)
def test_an_unknown_key_names_its_near_misses(override, named):
    said = refusal(None, override)
    assert override.partition("=")[0] in said and f"did you mean {named}" in said


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["objective.form=pairs"], "objective.form is a key of the objective agent_prm alone"),
        (["objective.name=monte_carlo", "objective.reduce=mean"], "of the objective gc_iql"),
        (["objective.name=inverse_prm", "objective.hindsight=1"], "agent_prm and of lookahead"),
    ],
)
def test_a_key_of_another_objective_names_the_objectives_that_have_it(overrides, words):
    assert words in refusal(None, *overrides)


def test_an_objective_has_its_own_keys_alone():
    known = {name: set(kind.model_fields) for name, kind in built_in()}
    common = {"name", "gamma", "head", "polyak"}
    assert known["monte_carlo"] == common
    assert known["gc_iql"] == common | {"expectile", "reduce"}
    assert known["inverse_prm"] == common | {"next_thought"}
    assert known["lookahead"] == common | {"hindsight"}
    own = {"form", "discount", "by_candidates", "by_thought", "margin", "hindsight"}
    assert known["agent_prm"] == common | own
    for name in known:
        assert load_config(None, [f"objective.name={name}"]).objective.name == name


def built_in():
    return [(name, REGISTRY.get(name)) for name in REGISTRY.names()]


FLAT = {
    **{"gamma": 0.9, "expectile": 0.8, "head": "linear", "reduce": "mean", "polyak": 0.01},
    **{"form": "points", "discount": "to_end", "by_candidates": True, "margin": 0.03},
    **{"hindsight": 0, "next_thought": "policy"},
}
"""What manifests of version 0.1 say of every objective, with constants of GC-IQL's that differ."""


def test_the_objective_of_an_old_manifest_is_read():
    read = saved_objective({"name": "gc_iql", **FLAT})
    assert read == GCIQL(gamma=0.9, expectile=0.8, head="linear", reduce="mean", polyak=0.01)
    assert saved_objective(read.model_dump()) == read
    read = saved_objective({"name": "inverse_prm", **FLAT, "next_thought": "logged"})
    assert read.model_dump()["next_thought"] == "logged"


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"name": "sarsa", "gamma": 0.9}, "'sarsa' is unknown"),
        ({"name": "gc_iql", "form": "points"}, "objective.form = 'points' does not fit"),
        ({"name": "gc_iql", **FLAT, "lambda": 0.5}, "objective.lambda = 0.5 does not fit"),
    ],
)
def test_a_manifest_that_names_something_else_is_a_sentence(tree, words):
    with pytest.raises(PgvError, match=words) as error:
        saved_objective(tree)
    assert "\n" not in str(error.value)


def test_an_unknown_key_of_a_file_names_the_file(yaml):
    path = yaml("train: {setps: 5}\n")
    assert str(path) in refusal(path) and "train.steps" in refusal(path)
    assert "known keys" in refusal(yaml("xyzzy: 5\n"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.steps=many", ["train.steps", "'many'"]),
        ("train.steps=0", ["train.steps", "0"]),
        ("train.steps=1.5", ["train.steps", "1.5"]),
        ("train.lr=-1", ["train.lr", "-1"]),
        ("train.lr=.inf", ["train.lr", "inf"]),
        ("goals.future=.nan", ["goals.future", "nan"]),
        ("train.seed=4294967296", ["train.seed", "4294967296"]),  # JAX would take it for 0
        ("train.seed=-1", ["train.seed", "-1"]),
        ("objective.gamma=1.5", ["objective.gamma", "1.5"]),
        ("objective.expectile=1", ["objective.expectile", "1"]),
        ("objective.name=sarsa", ["objective.name", "'sarsa'", "gc_iql"]),
        ("critic.hidden=[]", ["critic", "hidden"]),
        ("critic.hidden=[8,0]", ["critic", "hidden", "0"]),
        ("critic.hidden=64", ["critic.hidden", "64"]),
        ("critic.activation=swish", ["critic.activation", "'swish'", "gelu"]),
        ("texts.history=-1", ["texts.history", "-1"]),
        ("mesh.model=0", ["mesh.model", "0"]),
    ],
)
def test_a_wrong_value_names_its_key_and_itself(override, words):
    said = refusal(None, override)
    assert all(word in said for word in words), said


def test_goal_shares_must_not_all_be_zero():
    zeros = [f"goals.{kind}=0" for kind in ("current", "future", "random", "outcome")]
    assert "all 0" in refusal(None, *zeros)
    assert load_config(None, zeros[:3]).goals.outcome > 0


@pytest.mark.parametrize("override", ["train.steps", "=5", ""])
def test_an_override_without_key_or_value_is_refused(override):
    assert "key.path=value" in refusal(None, override)


def test_an_override_below_a_value_is_refused(yaml):
    assert "train" in refusal(yaml("train: 5\n"), "train.steps=5")


@pytest.mark.parametrize("text", ["train: 5\n", "train: [1]\n", "train: null\n"])
def test_a_section_that_is_not_one_is_refused(yaml, text):
    assert "train" in refusal(yaml(text))


@pytest.mark.parametrize(
    "text", ["train: {steps: 5\n", "a: b: c\n", b"\xff\xfe\x00", "- train\n", "5\n", "\t\n"]
)
def test_a_file_that_holds_no_configuration_is_named(yaml, text):
    path = yaml(text)
    assert str(path) in refusal(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert "does not exist" in refusal(tmp_path / "absent.yaml")
    assert f"{tmp_path} is a folder" in refusal(tmp_path)
    assert "near it are: gc_iql" in refusal("gciql")
    assert "near it are: gc_iql, imagined, " in refusal("nothing-like-it")
    assert "task.name=lamp sets a key; name a configuration before it" in refusal("task.name=lamp")


@pytest.mark.parametrize("name", ["alfworld/rollout", "configs/alfworld/rollout.yaml"])
def test_a_shipped_file_goes_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_file(name) == SHIPPED / "alfworld" / "rollout.yaml"
    (tmp_path / "alfworld").mkdir()
    (tmp_path / "alfworld" / "rollout").write_text("task: {}")
    assert config_file("alfworld/rollout") == Path("alfworld/rollout")  # a file goes first


def test_keys_of_yaml_may_be_anything(yaml):
    assert "1" in refusal(yaml("1: 2\n"))
    assert "2" in refusal(yaml("train: {2: 3}\n"))


@pytest.mark.parametrize("name", ITERATIONS)
def test_the_iterations_that_come_along_are_valid(name):
    settings = load_config(SHIPPED / name, ["learn.train.seed=1"], IterateConfig)
    assert settings.rollout.task.name == Path(name).parent.name
    assert settings.learn.objective.name != "gc_iql"


@pytest.mark.parametrize("name", [n for n in CONFIGS if n not in {*ROLLOUTS, *ITERATIONS}])
def test_the_experiments_that_come_along_are_valid(name):
    config = load_config(SHIPPED / name, ["train.seed=1"])
    if "/" in name:
        sample = name == "textworld/local_critic.yaml"
        wanted = "sample:smollm2-cooking" if sample else f"data/{Path(name).parent}"
        assert config.data.dataset == wanted


def kind_of(name: str):
    return RolloutConfig if name in ROLLOUTS else IterateConfig if name in ITERATIONS else Config


def leaves(tree: dict, path: tuple[str, ...] = ()):
    for key, value in tree.items():
        if isinstance(value, dict) and key != "args":
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def value_at(tree: object, path: tuple[str, ...]) -> object:
    return functools.reduce(getattr, path, tree)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shipped_configuration_names_what_differs_from_the_defaults(name):
    """But for the names of its objective and its task, which say what it is, and for the setting
    of a paper, whose values are the paper's whatever ours become."""
    if name == "pnlc.yaml":
        return
    keys = list(leaves(safe_load((SHIPPED / name).read_text("utf-8"))))
    config = load_config(SHIPPED / name, (), kind_of(name))
    named = [key for key in keys if key[-2:] == ("objective", "name")]
    chosen = [f"{'.'.join(key)}={value_at(config, key)}" for key in named]
    plain = load_config(None, chosen, kind_of(name))
    told = [key for key in keys if key[-1] != "name"]
    assert [k for k in told if value_at(config, k) == value_at(plain, k)] == []


@pytest.mark.parametrize("name", ROLLOUTS)
def test_the_rollouts_that_come_along_are_valid(name):
    config = load_config(SHIPPED / name, ["task.seed=1"], RolloutConfig)
    assert config.task.name in TASKS
    if "/" in name:
        assert config.task.name == Path(name).parent.name


def test_every_task_has_an_experiment_and_a_rollout():
    assert {f"{task}/{kind}.yaml" for task in TASKS for kind in ("gc_iql", "rollout")} <= set(
        CONFIGS
    )
