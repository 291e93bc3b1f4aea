"""Things of other packages: a small distribution is installed in a folder, and a file is named."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest

from pgv_jax.config import load_config
from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.detection import detect, importer_of, importers
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ClientOptions
from pgv_jax.llm.client import Request
from pgv_jax.llm.providers.opening import open_client
from pgv_jax.objectives import lookup as objectives
from pgv_jax.tasks.base import REGISTRY, gymnasium, make_env, register_all
from pgv_jax.types import Predictions

from .objectives.hand import batch, predictions

CODE = """
import hashlib
import numpy as np
from pydantic import Field
from pgv_jax.data.importers.base import NO, Detection, RecordImporter
from pgv_jax.llm.api_client import ApiClient, Reply, Sample
from pgv_jax.objectives.iql import GCIQL
from pgv_jax.tasks.base import TextEnv
from pgv_jax.types import Episode, Step


class Lamp(TextEnv):
    name = "lamp"

    def __init__(self, presses=1):
        super().__init__()
        self.presses = presses

    def task_ids(self, split=None):
        return ("lamp",)

    def admissible_actions(self):
        return ["press", "wait"]

    def _info(self):
        lit = self.pressed >= self.presses
        about = {"task_id": "lamp", "task": "Light the lamp.", "success": lit, "score": float(lit)}
        return {**about, "admissible_actions": self.admissible_actions()}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._choose_task(options)
        self.pressed = 0
        return "The lamp is dark.", self._info()

    def step(self, action):
        self.pressed += action == "press"
        info = self._info()
        note = "The lamp is lit." if info["success"] else "The lamp is dark."
        return note, info["score"], info["success"], False, info


class Doubled(GCIQL):
    name: str = "doubled"
    factor: float = Field(2.0, gt=0)

    def loss(self, predictions, batch):
        value, metrics = super().loss(predictions, batch)
        return self.factor * value, metrics


class Letters:
    def __init__(self, rest, options):
        self.dim, self.name = int(rest or 4), f"letters:{rest}"
        self.fingerprint = hashlib.sha256(self.name.encode()).hexdigest()

    def describe(self):
        return {"dim": self.dim}

    def encode(self, texts, progress=None):
        rows = [[text.count("abcdefgh"[i]) + 1.0 for i in range(self.dim)] for text in texts]
        rows = np.asarray(rows, np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Parrot(ApiClient):
    provider = "parrot"
    default_url = "http://127.0.0.1:9"

    def _open(self, key):
        pass

    async def _close(self):
        pass

    async def _send(self, request):
        said = request.messages[-1]["content"]
        return Reply([Sample(f"{self.model} says: {said}")], (1, 1))


class Haiku(RecordImporter):
    name = "haiku"
    about = "A poem a record"

    def detect(self, sample):
        fits = all("haiku" in record for record in sample.objects) and sample.objects
        return Detection(1.0, "the records are poems") if fits else NO

    def episodes(self, record, where, options):
        first, *others = record["haiku"]
        steps = (Step("Paper.", "I begin.", first),)
        yield Episode(where.episode_id, "haiku", "Write.", steps, others[-1])
"""
GROUPS = {
    "tasks": {"lamp": "Lamp"},
    "objectives": {"doubled": "Doubled"},
    "encoders": {"letters": "Letters"},
    "providers": {"parrot": "Parrot"},
    "importers": {"haiku": "Haiku"},
}


def install(folder: Path, name: str, code: str, groups: dict[str, dict[str, str]]) -> None:
    """What an installer leaves in ``folder``: a module, and its metadata with entry points."""
    (folder / f"{name}.py").write_text(code)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, points in groups.items():
        lines += [f"[pgv_jax.{group}]", *(f"{key} = {name}:{to}" for key, to in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages on ``sys.path``; what was imported from it is forgotten at the end."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name, module in list(sys.modules.items()):
        if str(folder) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


@pytest.fixture(params=["entry point", "file"])
def called(request, site, tmp_path):
    """How each thing is called: by the name of its entry point, or ``FILE.py:Class``."""
    points = {name: to for group in GROUPS.values() for name, to in group.items()}
    if request.param == "entry point":
        install(site, "pgv_tiny", CODE, GROUPS)
        return {name: name for name in points}
    (tmp_path / "mine.py").write_text(CODE)
    return {name: f"{tmp_path}/mine.py:{to}" for name, to in points.items()}


def test_a_task(called):
    env = make_env(called["lamp"], presses=2)
    assert env.reset(seed=0)[0] == "The lamp is dark."
    assert [env.step("press")[1:3] for _ in range(2)] == [(0.0, False), (1.0, True)]


def test_an_objective(called):
    overrides = [f"objective.name={called['doubled']}", "objective.gamma=0.9"]
    objective = load_config(None, [*overrides, "objective.factor=3"]).objective
    assert (objective.name, objective.factor, objective.gamma) == (called["doubled"], 3.0, 0.9)
    said = predictions(q=[[0.5]], v=[0.2], q_target=[[0.1]], next_v=[0.3])
    facts = batch([False], [False], [0.9])
    plain = load_config(None, ["objective.gamma=0.9"]).objective
    assert loss(objective, said, facts) == pytest.approx(3 * loss(plain, said, facts))
    assert objectives.saved_objective(objective.model_dump()) == objective
    with pytest.raises(PgvError, match=r"unknown key 'objective.facto'; did you mean .*factor"):
        load_config(None, [*overrides, "objective.facto=3"])


def loss(objective, said: Predictions, facts) -> float:
    return float(objective.loss(said, facts)[0])


def test_an_encoder(called):
    encoder = open_encoder(f"{called['letters']}:2")
    assert encoder.encode(["abba"]) == pytest.approx(np.asarray([[0.5**0.5, 0.5**0.5]]))
    pooled = open_encoder(f"sentences:{called['letters']}:2")
    assert pooled.encode(["One. Two."]).shape == (1, 2)


def test_a_provider(called):
    async def ask() -> str:
        options = ClientOptions(key_env="")
        async with open_client(f"{called['parrot']}:grey:8b", options) as client:
            request = Request(({"role": "user", "content": "Hello."},))
            return (await client.complete(request))[0].text

    assert asyncio.run(ask()) == "grey:8b says: Hello."


def test_an_importer(called, tmp_path):
    log = tmp_path / "poems.jsonl"
    log.write_text('{"haiku": ["An old pond.", "A frog jumps in.", "Sound of water."]}\n')
    importer = importer_of(called["haiku"])
    (episode,) = importer.read(log, Options())
    assert (episode.steps[0].action, episode.final_observation) == (
        "An old pond.",
        "Sound of water.",
    )
    if called["haiku"] == "haiku":
        assert detect(log).importer.name == "haiku"


def test_names_join_those_of_the_project(site):
    install(site, "pgv_tiny", CODE, GROUPS)
    assert REGISTRY.names()[-1] == "lamp"
    register_all()
    env = gymnasium.make("pgv_jax/lamp-v0", presses=3)
    del gymnasium.registry["pgv_jax/lamp-v0"]
    assert env.unwrapped.presses == 3
    with pytest.raises(
        PgvError, match=r"Task 'lamb' is unknown; .*lamp, or FILE.py:Class .*lamp\?"
    ):
        make_env("lamb")


def opened(kind: str, name: str) -> object:
    """Ask for a thing by its name."""
    return {
        "tasks": make_env,
        "objectives": lambda asked: load_config(None, [f"objective.name={asked}"]),
        "encoders": open_encoder,
        "providers": lambda asked: open_client(f"{asked}:m", ClientOptions(key_env="")),
        "importers": importer_of,
    }[kind](name)


def sentence(kind: str, name: str) -> str:
    with pytest.raises(PgvError) as error:
        opened(kind, name)
    assert "\n" not in str(error.value)
    return str(error.value)


OURS = {
    "tasks": "game24",
    "objectives": "gc_iql",
    "encoders": "minilm",
    "providers": "openai",
}


@pytest.mark.parametrize("kind", GROUPS)
def test_a_name_that_is_taken_twice_is_a_sentence(site, kind):
    ((name, to),) = GROUPS[kind].items()
    install(site, "pgv_one", CODE, {kind: {name: to}})
    install(site, "pgv_two", CODE, {kind: {name: to}})
    said = sentence(kind, name)
    assert f"'{name}' is given by pgv_one:{to} and by pgv_two:{to}; rename" in said
    assert f"pgv_jax.{kind}" in said


@pytest.mark.parametrize(("kind", "name"), OURS.items())
def test_a_name_of_the_projects_own_is_taken(site, kind, name):
    (to,) = GROUPS[kind].values()
    install(site, "pgv_one", CODE, {kind: {name: to}})
    assert f"'{name}' is given by pgv_jax itself and by pgv_one:{to}" in sentence(kind, name)


def test_an_importers_name_that_is_taken_stops_detection(site):
    install(site, "pgv_one", CODE, {"importers": {"openai": "Haiku"}})
    with pytest.raises(PgvError, match="'openai' is given by pgv_jax itself and by pgv_one:Haiku"):
        importers()


@pytest.mark.parametrize("kind", GROUPS)
def test_an_entry_point_that_cannot_be_imported_is_a_sentence(site, kind):
    ((name, to),) = GROUPS[kind].items()
    install(site, "pgv_broken", "import nothing_of_that_name\n", {kind: {name: to}})
    said = sentence(kind, name)
    assert f"'{name}' (pgv_broken:{to}) cannot be loaded: No module named 'nothing_of_that" in said


@pytest.mark.parametrize("kind", ["tasks", "objectives", "providers", "importers"])
def test_another_class_is_refused(site, kind):
    ((name, _),) = GROUPS[kind].items()
    install(site, "pgv_odd", "class Odd: ...\n", {kind: {name: "Odd"}})
    assert f"'{name}' (pgv_odd:Odd) is not a subclass of pgv_jax." in sentence(kind, name)


def test_what_makes_no_encoder_is_refused(site):
    code = "def odd(rest, options): return 3\ndef shy(): return 3\nodder = 3\n"
    names = ("odd", "shy", "odder")
    install(site, "pgv_odd", code, {"encoders": {name: name for name in names}})
    assert "odd makes a int, which is no pgv_jax.embed.encoder.Encoder" in sentence(
        "encoders", "odd"
    )
    assert "shy is called with what follows it and its options" in sentence("encoders", "shy")
    assert "neither a class nor a function" in sentence("encoders", "odder")


def test_a_broken_package_does_not_stop_what_does_not_need_it(site):
    install(site, "pgv_broken", "import nothing_of_that_name\n", GROUPS)
    assert make_env("game24").name == "game24"
    assert open_encoder("hash:4").dim == 4
    assert load_config(None).objective.name == "gc_iql"


@pytest.mark.parametrize("kind", GROUPS)
def test_a_file_that_is_wrong_is_a_sentence(tmp_path, kind):
    file = tmp_path / "mine.py"
    assert f"{file}:Thing: {file} does not exist." in sentence(kind, f"{file}:Thing")
    file.write_text("class Other: ...\n")
    assert "has no attribute 'Thing'; it has Other." in sentence(kind, f"{file}:Thing")
    (tmp_path / "bad.py").write_text("1 / 0\n")
    said = sentence(kind, f"{tmp_path}/bad.py:Thing")
    assert "cannot be loaded (ZeroDivisionError: division by zero)" in said
