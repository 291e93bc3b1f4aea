"""The importers by name, those that users register, and which of them fits a file.

Users add one with an entry point of the group ``pgv_jax.importers`` (docs/importing.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pgv_jax.data.importers.base import UNFIT, Detection, Importer, Sample
from pgv_jax.data.importers.files.kinds import HEAD, RECORDS, head_of, kind_of_file
from pgv_jax.data.importers.files.records import sample_records
from pgv_jax.data.importers.files.walk import is_other, shown
from pgv_jax.data.importers.formats.agents.atif import ATIF
from pgv_jax.data.importers.formats.agents.claude_code import ClaudeCode
from pgv_jax.data.importers.formats.agents.codex import Codex
from pgv_jax.data.importers.formats.agents.inspect_log import InspectLog
from pgv_jax.data.importers.formats.agents.openhands import OpenHands
from pgv_jax.data.importers.formats.agents.swe_agent import SWEAgent
from pgv_jax.data.importers.formats.benchmarks.agent_process_bench import AgentProcessBench
from pgv_jax.data.importers.formats.benchmarks.avalon import Avalon
from pgv_jax.data.importers.formats.benchmarks.plan_reward_bench import PlanRewardBench
from pgv_jax.data.importers.formats.benchmarks.scienceworld import ScienceWorld
from pgv_jax.data.importers.formats.benchmarks.webshop_human import WebShopHuman
from pgv_jax.data.importers.formats.chats.anthropic import AnthropicMessages
from pgv_jax.data.importers.formats.chats.gemini import Gemini
from pgv_jax.data.importers.formats.chats.langchain import LangChain
from pgv_jax.data.importers.formats.chats.openai import OpenAIMessages
from pgv_jax.data.importers.formats.chats.prompt_completion import PromptCompletion
from pgv_jax.data.importers.formats.chats.responses import Responses
from pgv_jax.data.importers.formats.chats.served import Served
from pgv_jax.data.importers.formats.chats.sharegpt import ShareGPT
from pgv_jax.data.importers.formats.tables.episodes_jsonl import EpisodesJSONL
from pgv_jax.data.importers.formats.tables.rlds_folder import RLDS
from pgv_jax.data.importers.formats.tables.step_table import StepTable
from pgv_jax.data.importers.formats.texts.dialogue import Dialogue
from pgv_jax.data.importers.formats.texts.react import ReAct, notebook_output
from pgv_jax.data.importers.formats.traces.langfuse import Langfuse
from pgv_jax.data.importers.formats.traces.langsmith import LangSmith
from pgv_jax.data.importers.formats.traces.mlflow import MLflow
from pgv_jax.data.importers.formats.traces.openai_agents import OpenAIAgents
from pgv_jax.data.importers.formats.traces.otel import OTel
from pgv_jax.data.importers.formats.traces.phoenix import Phoenix
from pgv_jax.data.storage.compression import archive_of
from pgv_jax.errors import PgvError
from pgv_jax.files import is_there
from pgv_jax.registry import Registry

SURE = 0.5
"""Below this an importer does not count as a candidate."""
SAMPLED = 20
"""Records that detection looks at."""
CLEAR = 0.2
"""The best candidate must lead the second by this much."""

BUILT_IN: dict[str, Importer] = {
    importer.name: importer
    for importer in (
        EpisodesJSONL(),
        OpenAIMessages(),
        Served(),
        ATIF(),
        InspectLog(),
        ShareGPT(),
        AnthropicMessages(),
        PromptCompletion(),
        Responses(),
        Gemini(),
        LangChain(),
        ClaudeCode(),
        Codex(),
        SWEAgent(),
        OpenHands(),
        OTel(),
        Langfuse(),
        LangSmith(),
        Phoenix(),
        MLflow(),
        OpenAIAgents(),
        ReAct(),
        Dialogue(),
        RLDS(),
        StepTable(),
        WebShopHuman(),
        Avalon(),
        AgentProcessBench(),
        PlanRewardBench(),
        ScienceWorld(),
    )
}


REGISTRY: Registry[type[Importer]] = Registry(
    "--format",
    "pgv_jax.importers",
    lambda: {name: type(importer) for name, importer in BUILT_IN.items()},
    Importer,
)


def importers() -> Mapping[str, Importer]:
    """Return all importers by name: the built-in ones and those of entry points."""
    return {**BUILT_IN, **{name: _made(kind, name) for name, kind in REGISTRY.added().items()}}


def importer_of(name: str) -> Importer:
    """Return the importer of that name, or the class of ``FILE.py:Class``."""
    return BUILT_IN[name] if name in BUILT_IN else _made(REGISTRY.get(name), name)


@lru_cache(maxsize=64)
def _made(kind: type[Importer], name: str) -> Importer:
    try:
        return kind()
    except Exception as error:  # somebody else's class may raise anything
        raise PgvError(
            f"--format {name} cannot be opened ({type(error).__name__}: {error})."
        ) from error


def sample_of(path: Path) -> Sample:
    """Read the beginning of a file, as much as detection needs."""
    if not is_there(path) and archive_of(path) is None:
        raise PgvError(f"{path} does not exist.")
    kind = kind_of_file(path)
    if kind in RECORDS:
        records, damage = sample_records(path, SAMPLED)
        return Sample(path, kind, records=tuple(records), damage=tuple(damage))
    if kind == "notebook":
        try:
            return Sample(path, kind, text=notebook_output(path)[:65536])
        except PgvError as error:
            raise PgvError(f"{path}: {error}.") from None
    if kind == "text":
        head = head_of(path)
        try:
            head.decode("utf-8")
            damage = []
        except UnicodeDecodeError as error:
            cut = len(head) - error.start < 4 and len(head) == HEAD  # within a character
            damage = [] if cut else [f"byte {error.start}: is not UTF-8 ({error.reason})"]
        return Sample(path, kind, text=head.decode("utf-8", "replace"), damage=tuple(damage))
    return Sample(path, kind)


def no_log(path: Path) -> str:
    """Say why a file plainly is no log, or return "" where it may be one."""
    if path.is_dir():
        return ""
    try:
        sample = sample_of(path)
    except PgvError as error:
        if is_other(path, "binary" if "binary file of a kind" in str(error) else "", ()):
            return "a file of another kind"
        raise
    if not is_other(path, sample.kind, sample.records) or _fits(sample):
        return ""
    keys = f" with {shown(sample.records[0])}" if sample.records else ""
    return f"no conversation in it (a {sample.kind} file{keys})"


class Found(NamedTuple):
    """The importer that fits a file, and why."""

    importer: Importer
    why: str


def _fits(sample: Sample) -> list[tuple[float, str, str]]:
    """The candidates for a sample, the surest first: (confidence, name, why)."""
    return [fit for fit in _judged(sample) if fit[0] >= SURE]


def _judged(sample: Sample) -> list[tuple[float, str, str]]:
    out: list[tuple[float, str, str]] = []
    for name, importer in importers().items():
        try:
            found = importer.detect(sample)
        except UNFIT as error:
            found = Detection(0.0, f"it failed on the sample ({type(error).__name__}: {error})")
        out.append((found.confidence, name, found.why))
    return sorted(out, key=lambda fit: (-fit[0], fit[1]))


def detect(path: Path) -> Found:
    """Return the one importer that clearly fits; none or several is an error that lists them.

    An importer that is certain (1.0: the file has a mark of the format) leads any that is not.
    """
    sample = sample_of(path)
    judged = _judged(sample)
    fits = [fit for fit in judged if fit[0] >= SURE]
    if not fits:
        keys = shown(sample.objects[0]) if sample.objects else ""
        saw = f"a {sample.kind} file" + (f" with records that have {keys}" if keys else "")
        broken = f" It is damaged: {'; '.join(sample.damage[:3])}." if sample.damage else ""
        refused = "; ".join(f"{name}: {why}" for _, name, why in judged if why)
        silent = ", ".join(sorted(name for _, name, why in judged if not why))
        told = f" Why not: {refused}; the others ({silent}) found no mark of theirs."
        raise PgvError(
            f"No importer recognises {path} ({saw}).{broken}{told} Name one with --format, its "
            "column with --column messages=NAME; a row a step is --format steps; or write an "
            "importer, see docs/importing.md."
        )
    certain = fits[0][0] == 1 and (len(fits) < 2 or fits[1][0] < 1)
    if len(fits) > 1 and fits[0][0] - fits[1][0] < CLEAR and not certain:
        lines = "; ".join(f"{name} ({why})" for _, name, why in fits)
        raise PgvError(f"{path} fits several formats: {lines}. Choose one with --format.")
    return Found(importers()[fits[0][1]], fits[0][2])
