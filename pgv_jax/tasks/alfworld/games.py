"""ALFWorld's game files: where they are, what they ask for, and a cache so that one loads once.

A file ``SPLIT/KIND-OBJECT-MOVABLE-RECEPTACLE-SCENE/trial_.../game.tw-pddl`` is JSON with a PDDL
domain and problem, a grammar and a walkthrough (Shridhar et al. 2021, arXiv:2010.03768). Loading
one means grounding its problem (fast-downward, 0.3 to 1.5 s); what is kept is small and plain, and
is also written to ``cache`` as JSON where a folder is given.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.files import write_whole
from pgv_jax.parts import part

GAME_FILE = "game.tw-pddl"

FOLDERS = {
    "train": ("train",),
    "test": ("valid_unseen",),
    "unseen": ("valid_unseen",),
    "seen": ("valid_seen",),
}
"""Name of a split -> its folders; "test" is another name of "unseen"."""

KINDS = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""The six kinds of tasks, in the order of ALFWorld's own numbers 1 to 6."""

VERSION = 1
"""Of the cached form; another number makes new cache files."""


@dataclass(frozen=True, slots=True)
class Game:
    """A loaded game: what never changes in it. Things are known by their name ("desk 1")."""

    game_id: str
    kind: str
    wanted: str
    """Type of the object that the task is about, in lower case ("alarmclock")."""
    target: str
    """Type of the receptacle it goes to, or of the lamp."""
    task: str
    walkthrough: tuple[str, ...]
    sas: str
    """The grounded problem, as fast-downward reads it."""
    parameters: dict[str, list[str]]
    """Action -> the names of its parameters."""
    names: dict[str, str]
    """PDDL id -> name."""
    facts: list[list[str]]
    """The facts at the start: predicate, then names."""


def find_games(folder: Path, split: str, kinds: tuple[str, ...] = KINDS) -> tuple[str, ...]:
    """Ids (paths below ``folder``) of the games of a split and of some kinds, sorted."""
    found = []
    for name in FOLDERS[split]:
        if not (folder / name).is_dir():
            raise PgvError(
                f"ALFWorld's folder {folder} has no folder '{name}'; name the folder that holds "
                "train, valid_seen and valid_unseen (json_2.1.1)."
            )
        for path in (folder / name).glob(f"*/*/{GAME_FILE}"):
            if path.parent.parent.name.partition("-")[0] in kinds:
                found.append(path.parent.relative_to(folder).as_posix())
    return tuple(sorted(found))


def data_folder(folder: Path | str | None) -> Path:
    """The folder of the games: ``folder``, or ``$ALFWORLD_DATA/json_2.1.1``."""
    if folder is not None:
        path = Path(folder)
    elif os.environ.get("ALFWORLD_DATA"):
        path = Path(os.environ["ALFWORLD_DATA"]) / "json_2.1.1"
    else:
        raise PgvError(
            "The folder of ALFWorld's games is not known; give folder=PATH of json_2.1.1, or set "
            "ALFWORLD_DATA to the folder above it."
        )
    if not path.is_dir():
        raise PgvError(f"The folder of ALFWorld's games {path} does not exist.")
    return path


@lru_cache(maxsize=1)
def packages() -> SimpleNamespace:
    """The optional packages, imported at first use.

    Raises:
        PgvError: they are not installed.
    """
    given = os.environ.get("ALFWORLD_DATA")
    # alfworld makes a folder in the user's cache when it is imported, unless it is told of one
    os.environ["ALFWORLD_DATA"] = given or tempfile.gettempdir()
    try:
        with part("alfworld", "The task alfworld"):
            downward = importlib.import_module("fast_downward")
            importlib.import_module("pgv_jax.tasks.textworld_package")  # spares alfworld jericho
            misc = importlib.import_module("alfworld.agents.utils.misc")
    finally:
        if given is None:
            del os.environ["ALFWORLD_DATA"]
    return SimpleNamespace(downward=downward, Demangler=misc.Demangler)


@lru_cache(maxsize=256)
def load_game(folder: Path, game_id: str, cache: Path | None = None) -> Game:
    """Load a game, from memory or from ``cache`` where it was loaded before."""
    path = folder / game_id / GAME_FILE
    try:
        raw = path.read_bytes()
        data = json.loads(raw)
        digest = hashlib.sha256(raw).hexdigest()
        kept = None if cache is None else cache / f"{digest}-{VERSION}.json.gz"
        if kept is not None and kept.exists():
            fields = json.loads(gzip.decompress(kept.read_bytes()))
        else:
            fields = _ground(data)
            if kept is not None:
                _write(kept, fields)
        return Game(
            game_id=game_id,
            **_kind_of(game_id),
            task=_task(data["grammar"]),
            walkthrough=tuple(data["walkthrough"]),
            **fields,
        )
    except (OSError, ValueError, KeyError, EOFError) as error:
        line = " ".join(str(error).split())
        raise PgvError(
            f"ALFWorld's game {path} cannot be loaded: {type(error).__name__} {line}."
        ) from None


def _kind_of(game_id: str) -> dict[str, Any]:
    parts = game_id.split("/")[-2].split("-")
    if len(parts) != 5 or parts[0] not in KINDS:
        raise ValueError("its folder is not named KIND-OBJECT-MOVABLE-RECEPTACLE-SCENE")
    return {"kind": parts[0], "wanted": parts[1].lower(), "target": parts[3].lower()}


def _task(grammar: str) -> str:
    """ "put a hot cup in cabinet." -> "Put a hot cup in cabinet." """
    found = re.search(r'Your task is to: ([^"]*)"', grammar)
    if found is None:
        raise ValueError("its grammar names no task")
    words = " ".join(found.group(1).split())
    return words[:1].upper() + words[1:]


def _ground(data: dict[str, Any]) -> dict[str, Any]:
    """Ground the problem; what is returned is plain JSON."""
    tools = packages()
    with _own_arguments():
        task, sas = tools.downward.pddl2sas(data["pddl_domain"], data["pddl_problem"])
    ids = [thing.name for thing in task.objects]
    demangler = tools.Demangler(game_infos={key: SimpleNamespace(id=key) for key in ids})
    names = {key: demangler.demangle_alfred_name(key).strip() for key in ids}
    facts = sorted(  # fast-downward keeps them in a set
        [atom.predicate, *(names[arg] for arg in atom.args)]
        for atom in task.init
        if hasattr(atom, "predicate") and atom.predicate != "="
    )
    parameters = {a.name: [p.name.strip("?") for p in a.parameters] for a in task.actions}
    return {"sas": sas, "parameters": parameters, "names": names, "facts": facts}


@contextmanager
def _own_arguments() -> Iterator[None]:
    """fast-downward overwrites ``sys.argv``; put it back."""
    kept = sys.argv
    try:
        yield
    finally:
        sys.argv = kept


def _write(path: Path, fields: dict[str, Any]) -> None:
    """Write whole or not at all: other processes may read the same cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, gzip.compress(json.dumps(fields).encode(), compresslevel=3, mtime=0))


def describe(game: Game) -> dict[str, Any]:
    """What a record of an episode may want to say of its game."""
    fields = asdict(game)
    return {name: fields[name] for name in ("game_id", "kind", "wanted", "target", "task")}
