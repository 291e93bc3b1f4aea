"""The experiment as one typed tree: a YAML file, then ``key=value`` overrides.

Every value that a paper leaves unknown is a key here with its default and its unit. An unknown
key is an error that names its near misses.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from pgv_jax.errors import PgvError
from pgv_jax.objectives.base import Objective

SHIPPED = Path(__file__).with_name("configs")
"""The configurations that come with the package."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Where the episodes are and what embeds them."""

    dataset: str = Field("", description="folder of an imported dataset")
    encoder: str = Field("minilm", description="minilm | hash:D | hf:DIR | gguf:FILE | api:MODEL")
    store: str | None = Field(None, description="embedding store; default DATASET/embeddings")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="type of the vectors in the table"
    )


class TextsConfig(_Section):
    """How a step is put into words."""

    history: Annotated[int, Field(ge=0)] | Literal["episode"] = Field(
        3, description="past turns in the observation field, 0: none; episode: all, read once"
    )
    step: Literal["thought", "action", "both"] = Field(
        "thought", description="what of a step the critic reads: what was thought, done, or both"
    )


class GoalsConfig(_Section):
    """Hindsight relabeling: what share of the goals comes from where."""

    form: Literal["sentence", "note"] = "sentence"
    current: float = Field(0.1, ge=0, description="share: holds in the present observation")
    future: float = Field(0.5, ge=0, description="share: from a later observation of the episode")
    random: float = Field(0.25, ge=0, description="share: from any observation of the shard")
    outcome: float = Field(0.15, ge=0, description="share: success or failure, whatever happened")
    failure: float = Field(0.5, ge=0, le=1, description="of the outcome goals, share of failure")
    horizon: Literal["geometric", "uniform"] = Field("geometric", description="of future goals")
    include_present: bool = Field(False, description="a future goal may be at distance 0")

    @model_validator(mode="after")
    def _some_share(self) -> GoalsConfig:
        if self.current + self.future + self.random + self.outcome <= 0:
            raise ValueError("the shares current, future, random and outcome are all 0")
        return self


class CriticConfig(_Section):
    """The heads' shape."""

    hidden: tuple[int, ...] = Field((128, 128), description="widths of the hidden layers")
    ensemble: int = Field(2, ge=1, description="Q copies")
    layer_norm: bool = False
    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    recipe: Literal["auto", "anchored", "td"] = Field(
        "auto", description="what answers outcome goals: chosen on held-out tasks | a probe | TD"
    )
    q: Literal["direct", "imagined"] = Field(
        "direct", description="Q by a head of its own, or by the imagined next note and V"
    )
    reads: Literal["mean", "sentences"] = Field(
        "sentences", description="imagined: what values the next note, its sentences or its mean"
    )
    note_width: int = Field(64, ge=4, multiple_of=4, description="next-note model: hidden width")
    note_dropout: float = Field(0.2, ge=0, lt=1, description="next-note model: share dropped")

    @model_validator(mode="after")
    def _positive_widths(self) -> CriticConfig:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden is {list(self.hidden)}; give at least one positive width")
        return self


class TrainConfig(_Section):
    """The learner's budget, its optimizer and when it stops."""

    steps: int = Field(3000, ge=1, description="updates")
    batch: int = Field(256, ge=1, description="steps in a batch, over all devices")
    goals: int = Field(1, ge=1, description="goals that each step of a batch meets")
    compute: Literal["float32", "tensorfloat32", "bfloat16"] = Field(
        "float32", description="how matrices are multiplied; the others are for accelerators"
    )
    feed: Literal["auto", "resident", "stream"] = Field(
        "auto", description="vectors on the devices, or read from disk ahead of them"
    )
    lr: float = Field(1e-3, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = Field(0, ge=0, description="updates of linear warm-up")
    weight_decay: float = Field(1e-2, ge=0)
    seed: int = Field(0, ge=0, lt=2**32)
    start: str = Field("", description="artifact whose parameters are the start; empty: new ones")
    scan: int = Field(0, ge=0, description="updates queued at once; 0: about a second's worth")
    log_every: int = Field(50, ge=1, description="updates averaged in a line of metrics.jsonl")
    early_stop: bool = Field(True, description="keep the best parameters on held-out tasks")
    select: Literal["both", "goals"] = Field(
        "both", description="rankings that say which parameters are best: with success, or without"
    )
    patience: int = Field(0, ge=0, description="evaluations without a gain that end it; 0: never")
    eval_every: int = Field(200, ge=1, description="updates between evaluations on held-out tasks")
    checkpoint_every: int = Field(1000, ge=1, description="updates between checkpoints")
    checkpoint_seconds: float = Field(180.0, gt=0, description="and at least so often")
    keep: int = Field(2, ge=1, description="checkpoints kept")
    tensorboard: bool = Field(False, description="write WORKDIR/tensorboard too")
    wandb: str = Field("", description="Weights & Biases project to report to; empty: none")


class MeshConfig(_Section):
    """The device mesh and the logical shards."""

    data: int = Field(0, ge=0, description="devices along the batch; 0: all present")
    model: int = Field(1, ge=1, description="devices along the hidden width")
    shards: int = Field(8, ge=1, description="logical shards of the data")


def _chosen(tree: Any) -> Any:
    from pgv_jax.objectives.lookup import objective_of  # JAX, which other configurations spare

    return objective_of(tree)


ChosenObjective = Annotated[SerializeAsAny[Objective], BeforeValidator(_chosen)]
"""The objective that ``name`` names, with its own keys; the name discriminates."""


class Config(_Section):
    """A whole training experiment."""

    data: DataConfig = DataConfig()
    texts: TextsConfig = TextsConfig()
    objective: ChosenObjective = Field(default_factory=lambda: _chosen({}), validate_default=True)
    goals: GoalsConfig = GoalsConfig()
    critic: CriticConfig = CriticConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()


def check_imagined(config: Config) -> None:
    """Refuse ``critic.q=imagined`` where there are no notes to imagine; PgvError names the key."""
    if config.critic.q != "imagined":
        return
    needs = (
        (config.texts.history == 0, f"texts.history=0, not {config.texts.history}"),
        (
            config.data.encoder.startswith("sentences:"),
            f"an encoder of sentences, data.encoder='sentences:{config.data.encoder}'",
        ),
        (
            config.objective.bootstraps,
            f"an objective that bootstraps V, such as gc_iql, not {config.objective.name}",
        ),
    )
    for fits, what in needs:
        if not fits:
            raise PgvError(
                f"critic.q=imagined predicts the next note's sentences and so needs {what}; or "
                "leave critic.q at direct."
            )


def load_config(path: str | Path | None, overrides: Sequence[str] = (), kind: Any = Config) -> Any:
    """Read a YAML file into ``kind`` and apply ``key.path=value`` overrides in their order.

    ``path`` is a file or the name of a shipped one (``config_file``); None starts from the
    defaults. Values are parsed as YAML: ``critic.hidden=[64,64]``, ``train.lr=3e-4``. Unknown
    keys, wrong types and unreadable files raise PgvError.
    """
    tree = {} if path is None else _read_yaml(config_file(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise PgvError(f"Override '{override}' is not of the form key.path=value.")
        _set(tree, key.split("."), _parse(text), override)
    where = str(path) if path is not None else "the configuration"
    known = set(_keys(kind, tree))
    for key in _leaves(tree, known):
        if key not in known:
            raise PgvError(_of_another_objective(key, where) or _unknown(key, known, where))
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "configuration"
        raise PgvError(
            f"{where}: {name} = {first['input']!r} is not valid: {first['msg']}."
        ) from None


def config_file(path: str | Path) -> Path:
    """The file of that path, else the shipped configuration of that name.

    ``gc_iql``, ``alfworld/rollout`` and ``configs/alfworld/rollout.yaml`` name shipped ones, in
    any folder. Raises PgvError, which names near ones, where there is neither.
    """
    if Path(path).is_file():
        return Path(path)
    name = Path(path).with_suffix("").as_posix().removeprefix("configs/")
    shipped = {
        file.relative_to(SHIPPED).with_suffix("").as_posix(): file
        for file in sorted(SHIPPED.rglob("*.yaml"))
    }
    if name in shipped and Path(path).suffix in ("", ".yaml"):
        return shipped[name]
    plain = [each for each in shipped if "/" not in each]
    if "=" in str(path):
        raise PgvError(
            f"{path} sets a key; name a configuration before it, your own file or a shipped one: "
            f"{', '.join(plain)}."
        )
    near = difflib.get_close_matches(name, shipped, n=3, cutoff=0.6) or plain
    what = "is a folder" if Path(path).is_dir() else "does not exist"
    raise PgvError(
        f"Configuration {path} {what}, and none of that name is shipped; near it are: "
        f"{', '.join(near)}."
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise PgvError(f"Configuration {path} cannot be read: {line}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise PgvError(f"Configuration {path} holds no keys at its top level.")
    return tree


def _parse(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):  # YAML 1.1 reads 1e-4 as a word
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _set(tree: dict[str, Any], path: list[str], value: Any, override: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise PgvError(f"Override '{override}' sets a key below '{part}', which is a value.")
    tree[path[-1]] = value


def _keys(kind: Any, tree: Any, prefix: str = "") -> Iterable[str]:
    """The keys of a section; those of an objective are the ones of the one that ``tree`` names."""
    for name, field in kind.model_fields.items():
        section = field.annotation
        below = tree[name] if isinstance(tree, dict) and name in tree else {}
        if section is Objective:
            named = {"name": below["name"]} if isinstance(below, dict) and "name" in below else {}
            section = type(_chosen(named))
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from _keys(section, below, f"{prefix}{name}.")
        else:
            yield prefix + name


def _leaves(tree: dict[str, Any], known: set[str], prefix: str = "") -> Iterable[str]:
    for name, value in tree.items():
        if isinstance(value, dict) and f"{prefix}{name}" not in known:  # else a free mapping
            yield from _leaves(value, known, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _of_another_objective(key: str, where: str) -> str:
    """What to say of a key that other objectives have; empty where none has it."""
    section, _, name = key.rpartition(".")
    if section.rpartition(".")[2] != "objective":
        return ""
    from pgv_jax.objectives.lookup import objectives_with

    owners = objectives_with(name)
    if not owners:
        return ""
    return (
        f"{where}: {key} is a key of the objective {' and of '.join(owners)} alone; leave it out, "
        f"or choose with {section}.name."
    )


def _unknown(key: str, known: set[str], where: str) -> str:
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    last = key.rsplit(".", 1)[-1]
    near += [k for k in sorted(known) if k.rsplit(".", 1)[-1] == last and k not in near]
    if near:
        return f"{where}: unknown key '{key}'; did you mean {' or '.join(near)}?"
    return f"{where}: unknown key '{key}'; known keys: {', '.join(sorted(known))}."
