"""ReAct transcripts: records with a text, plain text files, and the WebShop notebook's output."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pgv_jax.data.importers import identity
from pgv_jax.data.importers.base import (
    RAW_CHARACTERS,
    BadRecord,
    Detection,
    Options,
    RecordImporter,
    Sample,
    Where,
    guarded,
)
from pgv_jax.data.importers.files.kinds import kind_of_file
from pgv_jax.data.importers.files.records import Record
from pgv_jax.data.importers.formats.texts.react_text import (
    RESET,
    Parsed,
    episodes_in,
    is_arrow,
    is_react,
    parse,
    parts_of,
    task_in,
    without_marks,
)
from pgv_jax.data.importers.formats.texts.verdicts import outcome_in, unread_verdict
from pgv_jax.data.importers.outcomes.outcome import outcome_of, with_outcome
from pgv_jax.data.storage.compression import open_bytes
from pgv_jax.data.storage.jsonl import FieldError, kind_of, parse_json, text_field
from pgv_jax.types import Episode, Step

TEXT_KEYS = ("traj", "trajectory", "transcript", "react", "prompt", "log", "text", "output")
SURELY = TEXT_KEYS[:4]
"""Names that nothing but a log has."""
RUNNING = re.compile(r"^(\d+) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)[ \t]*$", re.M)
"""The notebook's line after an episode: count, mean reward so far, success rate, failure rate."""
UNREAD = "'{}' below an episode is not understood as its outcome; join one with --rewards"
OUTSIDE = "text before, between or behind the episodes, without an action, was left out"


def text_key(record: Any) -> str | None:
    """Return the key under which a record has a ReAct text."""
    if not isinstance(record, Mapping):
        return None
    for key in TEXT_KEYS:
        value = record.get(key)
        if isinstance(value, str) and is_react(value, key in SURELY):
            return key
    return None


class ReAct(RecordImporter):
    """Thought/Action/Observation labels or ``>`` lines, in records, text files and notebooks."""

    name = "react"
    about = "ReAct text: Thought/Action/Observation, > lines, the WebShop notebook"

    def detect(self, sample: Sample) -> Detection:
        """Sure where labels or arrows stand in a record's text or in the file's own text."""
        found = [key for record in sample.records if (key := text_key(record))]
        if found:
            share = len(found) / len(sample.records)
            return Detection(0.9 * share, f"'{found[0]}' holds a Thought/Action/Observation text")
        if sample.kind == "notebook" and "Action:" in sample.text and "Observation:" in sample.text:
            return Detection(0.8, "a notebook whose output has Action: and Observation: lines")
        if sample.kind == "text" and not sample.damage and is_react(sample.text, False):
            return Detection(0.9, "the text has Action: and Observation: or > lines")
        return Detection(0.0, "no text in it has Action: lines, or commands behind > for a task")

    def prompt(self, record: Any, options: Options) -> Any:
        """Return the text, for the common prefix."""
        key = text_key(record)
        return record[key] if key else None

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield the episodes of records, of a text file's parts, or of a notebook's output."""
        kind = kind_of_file(path)
        if kind == "notebook":
            yield from _read_parts(notebook_output(path), path, options)
        elif kind == "text":
            with open_bytes(path) as file:
                data = file.read()
            try:
                text = data.decode("utf-8-sig").replace("\r\n", "\n")
            except UnicodeDecodeError as error:
                line = data.count(b"\n", 0, error.start) + 1
                raw = data[:RAW_CHARACTERS].decode("utf-8", "backslashreplace")
                yield BadRecord(str(path), line, "text", f"is not UTF-8 ({error.reason})", raw)
                return
            yield from _read_parts(text, path, options)
        else:
            yield from super().read(path, options)

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a record."""
        if not isinstance(record, Mapping):
            raise FieldError("record", f"must be an object, not {kind_of(record)}")
        key = text_key(record)
        if key is None:
            raise FieldError(
                "record", f"no field among {', '.join(TEXT_KEYS)} has Action: or > lines"
            )
        return [_episode(text_field(record[key], key), key, record, where, options)]


def _episode(
    text: str, key: str, record: Mapping[str, Any], where: Where, options: Options
) -> Episode:
    if options.prefix is not None and text.startswith(options.prefix.text):
        text = text[options.prefix.characters :]
    parsed = parse(text.replace("\r\n", "\n"))
    if unread := unread_verdict(parsed.final):
        options.tally.notes[UNREAD.format(unread)] += 1
    task, scene = task_in(parsed.preamble)
    outcome, below = outcome_of(record), outcome_in(parsed.outcome)
    if below.success is None and below.reward is None and parsed.rewards:
        below = replace(below, reward=math.fsum(parsed.rewards.values()))
    if outcome.success is None and outcome.reward is None:
        outcome = replace(below, cut=outcome.cut)
    elif outcome.reward is None:
        outcome = replace(outcome, reward=below.reward)
    named = (
        record
        if "task_id" in record or "name" not in record
        else {**record, "task_id": record["name"]}
    )
    task_id, task = identity.name_task(named, task, options)
    steps = _steps(parsed, scene, task)
    metadata: dict[str, Any] = {"format": "react"}
    rest = identity.leftover(record, (key,))
    if rest:
        metadata["record"] = rest
    if parsed.outcome:
        metadata["outcome_text"] = parsed.outcome
    if parsed.dangling:
        metadata["dangling_thought"] = parsed.dangling
    episode = with_outcome(
        Episode(
            identity.name_episode(record, where, options),
            task_id,
            task,
            steps,
            parsed.final,
            metadata=metadata,
        ),
        outcome,
    )
    # A transcript of commands that did not succeed ran into its step limit: cut, not ended.
    if is_arrow(text) and episode.success is not True:
        episode = replace(episode, is_terminal=False)
    return episode


def _steps(parsed: Parsed, scene: str, task: str) -> tuple[Step, ...]:
    steps = []
    for t, (observation, thought, action, path) in enumerate(parsed.rows):
        metadata: dict[str, Any] = {"thought_from": "reasoning" if thought else "action"}
        if path:
            metadata["action_path"] = path
        if t == 0:  # the agent has at least read its task
            observation = f"{scene}\n{observation}".strip() or task
        reward = parsed.rewards.get(t)
        steps.append(Step(observation, thought or action, action, reward, metadata=metadata))
    return tuple(steps)


def notebook_output(path: Path) -> str:
    """Return the text outputs of a notebook, chunks joined: they are cut anywhere."""
    with open_bytes(path) as file:
        try:
            cells = parse_json(file.read())["cells"]
            texts = []
            for cell in cells:
                for output in cell.get("outputs", ()):
                    text = output.get("text", output.get("data", {}).get("text/plain", ""))
                    texts.append("".join(text))
        except (FieldError, KeyError, TypeError, AttributeError) as error:
            raise FieldError("notebook", f"cannot be read ({error})") from None
    return "".join(texts)


def _read_parts(text: str, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
    """The parts of a text hold episodes; the notebook's running means are rewards."""
    mean_before, index = 0.0, 0
    for offset, part in parts_of(text):
        if not is_react(part):
            if part.strip():
                options.tally.notes[OUTSIDE] += 1
            continue
        record: dict[str, Any] = {}
        running = list(RUNNING.finditer(part))
        if RESET.search(part):
            pieces = [(0, part)]
            if running:
                count, mean = int(running[-1].group(1)), float(running[-1].group(2))
                record["reward"] = round(mean * count - mean_before * (count - 1), 6)
                mean_before = mean
                pieces = [(0, part[: running[-1].start()])]
        else:
            pieces = episodes_in(part)
            if without_marks(part[: pieces[0][0]]):
                options.tally.notes[OUTSIDE] += 1
        for begin, piece in pieces:
            line = text.count("\n", 0, offset + begin) + 1
            where = Where(path, line, index)
            made = partial(_from_part, piece, record, where, options)
            yield from guarded(
                lambda made=made: [made()], Record(piece, line, piece.encode()), where, options
            )
            index += 1


def _from_part(part: str, record: dict[str, Any], where: Where, options: Options) -> Episode:
    reset = RESET.search(part)
    if reset is None:
        return _episode(part, "text", record, where, options)
    scene_end = re.compile(r"^Action:", re.M).search(part, reset.end())
    scene = part[reset.end() : scene_end.start() if scene_end else len(part)].strip()
    instruction = re.search(r"Instruction:[ \t]*\n?[ \t]*(.+?)[ \t]*(?:\n|$)", scene)
    task = instruction.group(1) if instruction else scene
    body = part[scene_end.start() :] if scene_end else ""
    episode = _episode(body, "text", {**record, "task": task}, where, options)
    bought = "outcome_text" in episode.metadata
    steps = episode.steps
    if steps:
        steps = (replace(steps[0], observation=scene), *steps[1:])
    metadata = {key: value for key, value in episode.metadata.items() if key != "record"}
    return replace(episode, steps=steps, is_terminal=bought, metadata=metadata)
