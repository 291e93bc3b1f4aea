"""The tokenizer that a GGUF file describes: byte-level BPE, split as its ``pre`` field says.

transformers 5.23 builds one as well, but without the digits of ``smollm``: one text in seven of a
random test then has other tokens than in llama.cpp. Each splitting here was compared with
llama.cpp's own (docs/encoders.md); a file with another one is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from pgv_jax.embed.tokens import Vocabulary
from pgv_jax.errors import PgvError

VERSION = 1
"""Of the way from metadata to a tokenizer: another one may give other ids."""
_UNKNOWN, _CONTROL, _USER = 2, 3, 4
"""Kinds of tokens that are found in a text before it is split (llama.cpp's token types)."""
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split(digits: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS.replace("DIGITS", digits)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


_SPLITS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    ),
    "llama-bpe": lambda: _split("{1,3}"),
    "qwen2": lambda: _split(""),
}


def read_vocabulary(path: Path, value: Callable[[str], Any], sha256: str) -> Vocabulary:
    """The vocabulary of the file at ``path``; ``value(key)`` gives its metadata, None if absent.

    Raises PgvError for other kinds than byte-level BPE and for ways of splitting not known here.
    """

    def own(key: str, default: Any = None) -> Any:
        found = value(f"tokenizer.ggml.{key}")
        return default if found is None else found

    kind, pre = own("model"), own("pre")
    if kind != "gpt2" or pre not in _SPLITS:
        raise PgvError(
            f"{path} has a tokenizer of model {kind!r} and pre {pre!r}; supported are 'gpt2' with "
            f"{', '.join(_SPLITS)}. Use the model's Hugging Face folder (hf:DIR) instead."
        )
    backend = _bpe(path, own)
    if pre == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = _SPLITS[pre]()
    before = own("bos_token_id") if own("add_bos_token", pre == "llama-bpe") else None
    after = own("eos_token_id") if own("add_eos_token", False) else None
    _surround(backend, before, after)
    ends = (own(f"{name}_token_id") for name in ("bos", "eos", "padding"))
    mark = hashlib.sha256(f"gguf tokenizer {VERSION} {sha256}".encode()).hexdigest()
    empty = next((end for end in ends if end is not None), None)
    return Vocabulary(backend, mark, path, empty, _unreadable(set(own("tokens"))))


def _unreadable(tokens: set[str]) -> frozenset[int]:
    """Bytes without a token, which every runtime leaves out; small models lack rare ones."""
    from gguf.vocab import bytes_to_unicode

    return frozenset(byte for byte, letter in bytes_to_unicode().items() if letter not in tokens)


def _bpe(path: Path, own: Callable[..., Any]) -> Tokenizer:
    tokens, merges, kinds = own("tokens", []), own("merges", []), own("token_type", [])
    vocab = {token: i for i, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    wrong = next(
        (
            said
            for said, is_so in (
                ("tokens that stand twice", len(vocab) != len(tokens)),
                (f"{len(kinds)} token types for {len(tokens)} tokens", len(kinds) != len(tokens)),
                ("merges that are no pairs", any(len(pair) != 2 for pair in pairs)),
            )
            if is_so
        ),
        None,
    )
    if wrong is not None:
        raise PgvError(f"The vocabulary of {path} has {wrong}; download the file again.")
    whole = own("pre") == "llama-bpe"  # a word that is a token needs no merges to it
    try:
        backend = Tokenizer(models.BPE(vocab=vocab, merges=pairs, ignore_merges=whole))
    except Exception as error:  # tokenizers raises plain Exceptions
        raise PgvError(
            f"The vocabulary of {path} makes no tokenizer ({error}); download the file again."
        ) from error
    special = [i for i, kind in enumerate(kinds) if kind in (_UNKNOWN, _CONTROL, _USER)]
    backend.add_special_tokens([AddedToken(tokens[i], normalized=False) for i in special])
    return backend


def _surround(backend: Tokenizer, before: int | None, after: int | None) -> None:
    """Let every text begin with one token and end with another, where there is one."""
    first, last = ([] if i is None else [(backend.id_to_token(i), i)] for i in (before, after))
    if first or last:
        single = [*(name for name, _ in first), "$A", *(name for name, _ in last)]
        backend.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=list({*first, *last})
        )
