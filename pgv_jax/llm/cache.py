"""Finished samples on disk, so that none is paid twice: by a resumed run, or by a second reader.

A sample is keyed by everything that affects it (the client's identity, the request but not its
``n``, the sample's index), as canonical JSON. Values are JSON. Errors and refusals never enter.

Files of its own rather than SQLite or diskcache: the members of a job array share the folder over
network file systems, where SQLite's locks are not reliable, and diskcache stores pickles.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Client, ClientError, Completion, Request
from pgv_jax.llm.journal import Journal

_FORMAT = 1


_canonical = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":")).encode


def cache_key(identity: Mapping[str, Any], request: Request, index: int) -> str:
    """sha256 hex of the canonical JSON of all that affects sample ``index`` of ``request``."""
    return cache_keys(identity, request, [index])[0]


def cache_keys(identity: Mapping[str, Any], request: Request, indices: Iterable[int]) -> list[str]:
    """``cache_key`` of several samples, for which the messages are written once."""
    before = {"client": dict(identity), "format": _FORMAT}
    after = {
        "max_tokens": int(request.max_tokens),
        "messages": [dict(message) for message in request.messages],
        "response_format": request.response_format,
        "seed": request.seed,
        "stop": list(request.stop),
        "temperature": float(request.temperature),
    }
    if request.tools:
        after["tools"] = [dict(tool) for tool in request.tools]
    try:
        head, tail = _canonical(before)[:-1], _canonical(after)[1:]
    except (TypeError, ValueError) as error:
        raise PgvError(f"A request to a model must be JSON, but {error}.") from None
    whole = (f'{head},"index":{int(index)},{tail}' for index in indices)
    return [hashlib.sha256(canonical.encode()).hexdigest() for canonical in whole]


def identity_of(client: Client) -> Mapping[str, Any]:
    """What a client says it is, for cache keys: its ``identity``, else its model's name."""
    identity = getattr(client, "identity", None)
    return identity if identity is not None else {"model": client.model}


class ResponseCache:
    """Key -> JSON form of a completion, in a folder; many processes may write to it at once.

    What other processes write while this one runs is seen at the next opening.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self._journal = Journal(folder)
        self._where: dict[str, tuple[Path, int, int]] = {}
        for path, offset, length, record in self._journal.read():
            if isinstance(record.get("key"), str) and _from_json(record.get("value")) is not None:
                self._where.setdefault(record["key"], (path, offset, length))

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: str) -> bool:
        return key in self._where

    @property
    def dropped(self) -> int:
        """Damaged lines that were met when the folder was read."""
        return self._journal.dropped

    def get(self, key: str) -> dict[str, Any] | None:
        """The value of ``key``, or None."""
        where = self._where.get(key)
        if where is None:
            return None
        path, offset, length = where
        try:
            with path.open("rb") as file:
                file.seek(offset)
                record = json.loads(file.read(length))
            return dict(record["value"])
        except (OSError, ValueError, KeyError, TypeError):
            del self._where[key]  # the file was removed or changed under us: ask again
            return None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Write ``value``, unless ``key`` is there; it is safe against kill -9 on return."""
        if key not in self._where:
            self._where[key] = self._journal.append({"key": key, "value": dict(value)})

    def close(self) -> None:
        """Close the file that this process writes."""
        self._journal.close()


class CachedClient:
    """A client in front of which ``cache`` stands; identical requests in flight are asked once."""

    def __init__(self, client: Client, cache: ResponseCache):
        self.model = client.model
        self.identity = dict(identity_of(client))
        self.hits = 0
        self.misses = 0
        self._client = client
        self._cache = cache
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def complete(self, request: Request) -> list[Completion]:
        """Samples from the cache where it has them, the others from the client, in order."""
        indices = range(request.first, request.first + request.n)
        whole, *each = cache_keys(self.identity, request, [-1, *indices])
        keys = dict(zip(indices, each, strict=True))
        lock = self._lock(whole)
        async with lock:
            found = {i: hit for i, key in keys.items() if (hit := self._load(key)) is not None}
            missing = [index for index in indices if index not in found]
            self.hits += len(found)
            self.misses += len(missing)
            parts = self._parts(request, missing)
            if len(parts) == 1:  # no task of its own: that costs a turn of the event loop
                found.update(await self._ask(parts[0], keys))
            else:
                found.update(await self._ask_all(parts, keys))
        return [found[index] for index in indices]

    async def _ask_all(
        self, parts: list[Request], keys: Mapping[int, str]
    ) -> dict[int, Completion]:
        """Every call is waited for, also when one fails: what is paid must reach the cache."""
        calls = [self._ask(part, keys) for part in parts]
        found: dict[int, Completion] = {}
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            found.update(outcome)
        return found

    async def _ask(self, request: Request, keys: Mapping[int, str]) -> dict[int, Completion]:
        try:
            completions = await self._client.complete(request)
        except ClientError as error:
            self._store(error.completions, keys)
            raise
        answers = {request.first + i: completion for i, completion in enumerate(completions)}
        self._store(answers, keys)
        return answers

    def _store(self, answers: Mapping[int, Completion], keys: Mapping[int, str]) -> None:
        for index, completion in answers.items():
            self._cache.put(keys[index], _to_json(completion))

    def _parts(self, request: Request, missing: list[int]) -> list[Request]:
        """Runs of neighbours in one call each; one call a sample where the client has no ``n``."""
        runs: list[list[int]] = []
        batched = getattr(self._client, "batched", True)
        for index in missing:
            if batched and runs and runs[-1][-1] == index - 1:
                runs[-1].append(index)
            else:
                runs.append([index])
        return [replace(request, first=run[0], n=len(run)) for run in runs]

    def _load(self, key: str) -> Completion | None:
        value = self._cache.get(key)
        return None if value is None else _from_json(value)

    def _lock(self, key: str) -> asyncio.Lock:
        lock = self._locks.get(key)
        if lock is None:
            lock = asyncio.Lock()
            self._locks[key] = lock
        return lock


def _to_json(completion: Completion) -> dict[str, Any]:
    return {
        "text": completion.text,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "dollars": completion.dollars,
        "seconds": completion.seconds,
        "metadata": dict(completion.metadata),
        **({} if completion.message is None else {"message": dict(completion.message)}),
    }


def _from_json(value: Any) -> Completion | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str):
        return None
    return Completion(
        text=value["text"],
        prompt_tokens=int(value.get("prompt_tokens", 0)),
        completion_tokens=int(value.get("completion_tokens", 0)),
        dollars=float(value.get("dollars", 0.0)),
        seconds=float(value.get("seconds", 0.0)),
        cached=True,
        metadata=value.get("metadata") or {},
        message=value.get("message"),
    )
