"""Texts to token ids by a folder's own tokenizer, cut to the window, specials kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.embed.rules import TextRules
from pgv_jax.errors import PgvError
from pgv_jax.texts.unicode import clean

_NEEDED = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids of one text, specials included, whether some of it was cut, how many are unknown."""

    ids: np.ndarray
    truncated: bool
    unknown: int = 0


class TextTokenizer:
    """The fast tokenizer of a model folder, opened offline.

    ``plain`` opens ``tokenizer.json`` as it stands, for folders known to need no more than that:
    it spares the seconds that importing transformers takes.
    """

    def __init__(self, folder: Path, rules: TextRules, *, plain: bool = False):
        self.folder, self.rules = folder, rules
        self.sha256 = _sha256(folder)
        self._backend = _open_plain(folder) if plain else _open(folder)
        probe = self._ids(["a"], specials=False)[0]
        wrapped = self._ids(["a"], specials=True)[0]
        at = next(
            i for i in range(len(wrapped) + 1) if wrapped[i : i + len(probe)] == probe or not probe
        )
        self.head = wrapped[:at]
        self.tail = wrapped[at + len(probe) :]
        room = rules.max_tokens - len(self.head) - len(self.tail)
        if room < 1:
            raise PgvError(
                f"max_tokens={rules.max_tokens} leaves no room for text: the tokenizer of "
                f"{folder} adds {len(self.head) + len(self.tail)} special tokens."
            )
        self.room = room
        self.unknown = _unknown_id(self._backend)
        self.prefix = self._ids([clean(rules.prefix)], specials=False)[0] if rules.prefix else []
        if len(self.prefix) >= room:
            raise PgvError(
                f"The prefix has {len(self.prefix)} tokens and leaves none of the {room} for text; "
                "shorten it or raise max_tokens."
            )

    def __call__(self, texts: Sequence[str]) -> list[Tokens]:
        """Prefix, tokenize and cut every text; an empty sequence of ids is a PgvError."""
        found = []
        bodies = self._ids([clean(self.rules.prefix + text) for text in texts], specials=False)
        for text, body in zip(texts, bodies, strict=True):
            kept = body[: self.room]
            if self.rules.keep == "end" and len(body) > self.room:
                # The instruction survives; what is lost is the text's beginning.
                kept = [*self.prefix, *body[len(body) + len(self.prefix) - self.room :]]
            ids = np.asarray([*self.head, *kept, *self.tail], np.int32)
            if not len(ids):
                raise PgvError(
                    f"Text {text!r} has no tokens and the tokenizer of {self.folder} adds none, so "
                    "it has no vector; leave empty texts out, or give the encoder a prefix."
                )
            found.append(Tokens(ids, len(body) > self.room, kept.count(self.unknown)))
        return found

    def bare(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids without specials, prefix or cut."""
        return self._ids([clean(text) for text in texts], specials=False)

    def _ids(self, texts: list[str], *, specials: bool) -> list[list[int]]:
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=specials)
        return [encoding.ids for encoding in encodings]


def _sha256(folder: Path) -> str:
    """Over the vocabulary files; tokenizer_config.json also holds things that change nothing."""
    digest = hashlib.sha256()
    # A tokenizer.json is complete; the others stand beside it for older programs.
    names = _NEEDED[:1] if (folder / _NEEDED[0]).exists() else (*_NEEDED[1:], "merges.txt")
    for path in (folder / name for name in names):
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _unknown_id(backend: Any) -> int:
    """The id that stands for everything the vocabulary lacks; -1 where it lacks nothing."""
    token = getattr(backend.model, "unk_token", None)
    if token is None:
        found = json.loads(backend.to_str())["model"].get("unk_id")
    else:
        found = backend.token_to_id(token)
    return -1 if found is None else int(found)


def _open_plain(folder: Path) -> Any:
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.no_truncation()
    backend.no_padding()
    return backend


def _open(folder: Path) -> Any:
    if not any((folder / name).exists() for name in _NEEDED):
        raise PgvError(
            f"{folder} holds no tokenizer (one of {', '.join(_NEEDED)}); download the whole model."
        )
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise PgvError(
            f"The tokenizer of {folder} cannot be opened ({type(error).__name__}: {error}); "
            "download the model again."
        ) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise PgvError(f"The tokenizer of {folder} has no fast form; add a tokenizer.json.")
    backend.no_truncation()
    backend.no_padding()
    return backend
