"""Text rules of an encoder: what is put around a text, where it is cut, how it is pooled.

Read from the sentence-transformers files of a model folder (``modules.json``,
``1_Pooling/config.json``, ``sentence_bert_config.json``, ``config_sentence_transformers.json``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgv_jax.errors import PgvError

POOLINGS = ("mean", "cls", "last")
_POOLING_KEYS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True)
class TextRules:
    """How a text becomes tokens and hidden states become one vector.

    ``truncate_to`` keeps the first so many numbers (Matryoshka, Kusupati et al. 2022,
    arXiv:2205.13147) and normalises again. ``layer`` counts as transformers' hidden_states do:
    -1 is the last, 0 the embeddings. ``keep`` says which end of a long text survives. ``skip``
    leaves so many first tokens out of a mean (but never the last one): a decoder's first token is
    an attention sink whose state dwarfs the others (Sun et al. 2024, arXiv:2402.17762).
    """

    pooling: str = "mean"
    max_tokens: int = 512
    prefix: str = ""
    normalize: bool = True
    truncate_to: int | None = None
    layer: int = -1
    keep: str = "start"
    skip: int = 0

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise PgvError(f"Pooling {self.pooling!r} is unknown; use {', '.join(POOLINGS)}.")
        if self.keep not in ("start", "end"):
            raise PgvError(f"keep={self.keep!r} is unknown; use 'start' or 'end'.")
        if self.max_tokens < 1:
            raise PgvError(f"max_tokens={self.max_tokens} must be at least 1.")
        if self.skip < 0 or (self.skip and self.pooling != "mean"):
            raise PgvError(
                f"skip={self.skip} with pooling={self.pooling!r} cannot be: it leaves first tokens "
                "out of a mean; give a positive number and pooling=mean, or leave it out."
            )


def read_json(path: Path) -> dict[str, Any] | list[Any]:
    """Parse a JSON file of a model folder; raises PgvError naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PgvError(f"{path} is missing; a model folder holds it beside its weights.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PgvError(f"{path} is not valid JSON ({error}); download the model again.") from error


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict):
        raise PgvError(f"{path} should hold a JSON object, it holds a {type(content).__name__}.")
    return content


def _read_list(path: Path) -> list[dict[str, Any]]:
    content = read_json(path) if path.exists() else []
    if not isinstance(content, list):
        raise PgvError(f"{path} should hold a JSON list, it holds a {type(content).__name__}.")
    return content


def read_rules(folder: Path, *, causal: bool, window: int) -> TextRules:
    """The rules that a model folder states; ``window`` is the model's own longest input.

    Without sentence-transformers files: mean pooling for encoders, last token for causal models.
    """
    modules = _read_list(folder / "modules.json")
    pooling, normalize = ("last" if causal else "mean"), True
    if modules:
        normalize = False
        for module in modules:
            kind = str(module["type"]).rsplit(".", 1)[-1]
            if kind == "Pooling":
                pooling = _pooling(folder / module["path"] / "config.json")
            elif kind == "Normalize":
                normalize = True
            elif kind != "Transformer":
                raise PgvError(
                    f"{folder / 'modules.json'} lists a {kind} module; supported are Transformer, "
                    "Pooling and Normalize."
                )
    extra = _read_object(folder / "config_sentence_transformers.json")
    bert = _read_object(folder / "sentence_bert_config.json")
    tokenizer = _read_object(folder / "tokenizer_config.json")
    limits = [window, bert.get("max_seq_length"), tokenizer.get("model_max_length")]
    prompts, default = extra.get("prompts") or {}, extra.get("default_prompt_name")
    if default and default not in prompts:
        raise PgvError(
            f"{folder / 'config_sentence_transformers.json'} names the default prompt "
            f"{default!r}, but its prompts are {sorted(prompts)}."
        )
    return TextRules(
        pooling=pooling,
        # transformers writes 1e30 where a tokenizer knows no limit.
        max_tokens=min(int(limit) for limit in limits if limit),
        prefix=prompts.get(default, "") if default else "",
        normalize=normalize,
        truncate_to=extra.get("truncate_dim"),
        keep="end" if tokenizer.get("truncation_side") == "left" else "start",
    )


def prompt_of(folder: Path, name: str) -> str:
    """The prompt called ``name`` in ``config_sentence_transformers.json``."""
    path = folder / "config_sentence_transformers.json"
    prompts = _read_object(path).get("prompts") or {}
    if name not in prompts:
        raise PgvError(f"{path} has no prompt {name!r}; it has {sorted(prompts)}.")
    return str(prompts[name])


def _pooling(path: Path) -> str:
    config = _read_object(path)
    if "pooling_mode" in config:
        modes = [config["pooling_mode"]]
    else:
        modes = [key for key, on in config.items() if key.startswith("pooling_mode") and on is True]
        modes = [_POOLING_KEYS.get(key, key) for key in modes]
    modes = ["last" if mode == "lasttoken" else mode for mode in modes]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise PgvError(
            f"{path} asks for pooling {modes}; supported is one of {', '.join(POOLINGS)}."
        )
    return modes[0]
