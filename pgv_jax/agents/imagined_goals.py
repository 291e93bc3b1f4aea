"""Imagined goals: how a model's answer is read into sentences, and how near they are to known ones.

A critic knows the sentences of its training notes; a paraphrase costs accuracy. Grounding finds
the nearest training sentence of each goal, to report the distance or to ask that one instead.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pgv_jax.errors import PgvError
from pgv_jax.texts.templates import observation_text, sentences
from pgv_jax.texts.unicode import cleaned
from pgv_jax.types import Episode

GROUNDINGS = ("off", "report", "snap")


@dataclass(frozen=True, slots=True)
class Goal:
    """A future in one sentence.

    ``nearest`` and ``similarity`` (cosine) are known where it was grounded; ``asked`` is what the
    model wrote, where ``text`` was snapped to something else.
    """

    text: str
    good: bool
    nearest: str | None = None
    similarity: float | None = None
    asked: str | None = None

    def to_json(self) -> dict[str, Any]:
        """What is known, without what is not."""
        fields = {
            "text": self.text,
            "good": self.good,
            "nearest": self.nearest,
            "similarity": None if self.similarity is None else round(self.similarity, 4),
            "asked": self.asked,
        }
        return {name: value for name, value in fields.items() if value is not None}


def parse_goals(text: str, count: int) -> tuple[Goal, ...] | None:
    """At most ``count`` positive and negative goals each; None where either is missing.

    JSON is asked for; fences, trailing commas, single quotes and labelled lists are survived.
    """
    fields = read_object(text)
    found: dict[bool, list[str]] = {True: [], False: []}
    if fields is not None:
        for name, value in fields.items():
            good = _side(name)
            if good is not None:
                found[good].extend(_strings(value))
    else:
        good = None
        for line in text.splitlines():
            label, colon, rest = line.strip(" \t*#_-").partition(":")
            side = _side(label) if colon and len(label.split()) <= 3 else None
            if side is not None:
                good, line = side, rest
            if good is not None and _sentence(line):
                found[good].append(line)
    goals: list[Goal] = []
    for good in (True, False):
        texts = dict.fromkeys(filter(None, map(_sentence, found[good])))
        goals.extend(Goal(each, good) for each in list(texts)[:count])
    both = {goal.good for goal in goals} == {True, False}
    return tuple(goals) if both else None


def read_object(text: str) -> dict[str, Any] | None:
    """The JSON object in a model's answer, read tolerantly; None where there is none."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end <= start:
        return None
    body = text[start : end + 1]
    readers: tuple[tuple[Callable[[str], Any], str], ...] = (
        (json.loads, body),
        (json.loads, re.sub(r",(\s*[}\]])", r"\1", body)),
        (ast.literal_eval, body),
    )
    for reader, source in readers:
        try:
            value = reader(source)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(value, dict):
            return {str(name).lower(): item for name, item in cleaned(value).items()}
    return None


class SentenceIndex:
    """The training sentences and their unit vectors: finds the nearest one of a goal."""

    def __init__(self, texts: Iterable[str], embed: Callable[[Sequence[str]], np.ndarray]):
        self.texts = list(dict.fromkeys(texts))
        if not self.texts:
            raise PgvError("Goal grounding needs training sentences, but there are none.")
        self._embed = embed
        self._known_UD = _unit(embed(self.texts))

    def nearest(self, goals: Sequence[str]) -> list[tuple[str, float]]:
        """(training sentence, cosine) of each goal."""
        if not goals:
            return []
        similarity_GU = _unit(self._embed(goals)) @ self._known_UD.T
        best_G = similarity_GU.argmax(axis=1)
        return [(self.texts[int(u)], float(similarity_GU[g, u])) for g, u in enumerate(best_G)]


def training_sentences(episodes: Iterable[Episode]) -> list[str]:
    """The distinct sentences of all notes, in order of appearance."""
    found: dict[str, None] = {}
    for episode in episodes:
        for t in range(len(episode.steps) + 1):
            found.update(dict.fromkeys(sentences(observation_text(episode, t, 0))))
    return list(found)


def ground(goals: Sequence[Goal], index: SentenceIndex, mode: str) -> tuple[Goal, ...]:
    """Goals with their nearest training sentence ("report"), or become it ("snap").

    Two goals of a side that snap to one sentence stay one goal.
    """
    grounded: list[Goal] = []
    nearest = index.nearest([goal.text for goal in goals])
    for goal, (text, similarity) in zip(goals, nearest, strict=True):
        near = replace(goal, nearest=text, similarity=similarity)
        if mode == "snap":
            asked = goal.text if goal.text != text else None
            near = replace(near, text=text, asked=asked)
            if any((g.text, g.good) == (near.text, near.good) for g in grounded):
                continue
        grounded.append(near)
    return tuple(grounded)


def _side(name: str) -> bool | None:
    name = name.lower()
    if any(word in name for word in ("negative", "bad", "undesired", "unsuccess", "fail")):
        return False
    if any(word in name for word in ("positive", "good", "desired", "success")):
        return True
    return None


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.splitlines()
    if isinstance(value, Mapping):  # {"goal": "..."} in place of a string
        return [v for v in value.values() if isinstance(v, str)][:1]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return []


def _sentence(text: str) -> str:
    """One sentence with a capital and a full stop, without bullet, number and quotes."""
    plain = re.sub(r"^\s*(?:[-*\u2022]+|\(?\d+[.):])\s*", "", text)
    plain = " ".join(plain.split()).strip("\"'`*_ ,[]")
    if not any(letter.isalnum() for letter in plain):
        return ""
    plain = plain[0].upper() + plain[1:]
    return plain if plain[-1] in ".!?" else f"{plain}."


def _unit(vectors_UD: np.ndarray) -> np.ndarray:
    vectors_UD = np.asarray(vectors_UD, np.float32)
    norm_U1 = np.linalg.norm(vectors_UD, axis=1, keepdims=True)
    return vectors_UD / np.maximum(norm_U1, 1e-12)
