"""Texts to token ids by a model's own tokenizer, cut to the window, specials kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.embed.text_rules import TextRules
from pgv_jax.errors import PgvError
from pgv_jax.parts import part
from pgv_jax.texts.unicode import clean

_NEEDED = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids of one text, specials included, and what befell it.

    ``truncated``: some was cut; ``empty``: no token is its own; ``lossy``: bytes have no token.
    ``unknown`` counts tokens that the vocabulary lacks.
    """

    ids: np.ndarray
    truncated: bool
    empty: bool
    lossy: bool
    unknown: int = 0


@dataclass(frozen=True)
class Vocabulary:
    """A fast tokenizer (of the package tokenizers), and where it comes from.

    ``empty`` is the token that a text without any stands for: the model's own first token, else
    its last one; None where it has neither. ``unreadable`` are the bytes of a text that have no
    token and are left out.
    """

    backend: Any
    sha256: str
    source: Path
    empty: int | None
    unreadable: frozenset[int] = frozenset()


class TextTokenizer:
    """Texts to ids by a vocabulary and the rules of an encoder.

    ``stand_in`` is read in place of a text without tokens, where nothing is put around it.
    """

    def __init__(self, vocabulary: Vocabulary, rules: TextRules):
        self.source, self.rules = vocabulary.source, rules
        self.sha256 = vocabulary.sha256
        self._backend, self._unreadable = vocabulary.backend, vocabulary.unreadable
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
                f"{self.source} adds {len(self.head) + len(self.tail)} special tokens."
            )
        self.room = room
        self.unknown = _unknown_id(self._backend)
        self.prefix = self._ids([clean(rules.prefix)], specials=False)[0] if rules.prefix else []
        if len(self.prefix) >= room:
            raise PgvError(
                f"The prefix has {len(self.prefix)} tokens and leaves none of the {room} for text; "
                "shorten it or raise max_tokens."
            )
        self.stand_in = [] if vocabulary.empty is None else [vocabulary.empty]

    def __call__(self, texts: Sequence[str]) -> list[Tokens]:
        """Prefix, tokenize and cut every text; one that has no vector is a PgvError."""
        found = []
        bodies = self._ids([clean(self.rules.prefix + text) for text in texts], specials=False)
        for text, body in zip(texts, bodies, strict=True):
            kept = body[: self.room]
            if self.rules.keep == "end" and len(body) > self.room:
                # The instruction survives; what is lost is the text's beginning.
                kept = [*self.prefix, *body[len(body) + len(self.prefix) - self.room :]]
            ids = np.asarray([*self.head, *kept, *self.tail] or self.stand_in, np.int32)
            if not len(ids):
                raise PgvError(
                    f"Text {text!r} has no tokens and the tokenizer of {self.source} neither adds "
                    "one nor names a first or last token, so it has no vector; leave empty texts "
                    "out, or give the encoder a prefix."
                )
            empty, unknown = body == self.prefix, kept.count(self.unknown)
            found.append(Tokens(ids, len(body) > self.room, empty, self.is_lossy(text), unknown))
        return found

    def is_lossy(self, text: str) -> bool:
        """Whether some of the text's bytes have no token and are left out."""
        return bool(self._unreadable) and not self._unreadable.isdisjoint(clean(text).encode())

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


def folder_vocabulary(folder: Path, *, plain: bool = False) -> Vocabulary:
    """The tokenizer of a model folder, opened offline.

    ``plain`` opens ``tokenizer.json`` as it stands, for folders known to need no more than that
    (it adds tokens to every text): it spares the seconds that importing transformers takes.
    """
    backend, empty = (_open_plain(folder), None) if plain else _open(folder)
    backend.no_truncation()
    backend.no_padding()
    return Vocabulary(backend, _sha256(folder), folder, empty)


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

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _open(folder: Path) -> tuple[Any, int | None]:
    if not any((folder / name).exists() for name in _NEEDED):
        raise PgvError(
            f"{folder} holds no tokenizer (one of {', '.join(_NEEDED)}); download the whole model."
        )
    with part("hf", f"The tokenizer of {folder}"):
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
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return backend, next((end for end in ends if end is not None), None)
