"""The resumable state of a training run, kept by Orbax. The published critic is the artifact."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from pgv_jax.errors import PgvError
from pgv_jax.learner.state import State

DISK = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|Read-only file system", re.I
)
"""What a disk that refuses says, in whatever library's words around it."""
WHY = 300
"""Characters of a library's reason that a sentence of ours repeats."""


class Checkpoints:
    """``WORKDIR/checkpoints``: asynchronous saves, the last ``keep`` of them, atomically."""

    def __init__(self, folder: Path, keep: int, identity: dict[str, Any]):
        """``identity`` is what must not change between a run and its continuation."""
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        self._identity = identity
        self._folder = folder
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(_Echoes())

    def latest(self) -> int | None:
        """Return the newest complete checkpoint's step, or None."""
        return self._manager.latest_step()

    def save(self, state: State, progress: dict[str, Any]) -> None:
        """Start saving; returns once the state is copied off the devices."""
        step = int(state.step)
        if step == self.latest():
            return
        self._check_room(sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
        with self._told():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state._asdict()),
                    progress=ocp.args.JsonSave({"identity": self._identity, **progress}),
                ),
            )

    def restore(self, abstract: State) -> tuple[State, dict[str, Any]] | None:
        """Restore the newest checkpoint onto the shardings of ``abstract``, or return None."""
        step = self.latest()
        if step is None:
            return None
        with self._read(step):
            progress = self._manager.restore(
                step, args=ocp.args.Composite(progress=ocp.args.JsonRestore())
            )["progress"]
        saved = _leaves(progress["identity"])
        for key, mine in _leaves(self._identity).items():
            theirs = saved.get(key)
            if theirs != mine:
                raise PgvError(
                    f"The checkpoint in {self._folder} was made with {key} = {theirs}, but this "
                    f"run has {mine}; use another --workdir, or remove that folder to start again."
                )
        with self._read(step):
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract._asdict())),
            )["state"]
        return State(**jax.tree.map(lambda x: x, restored)), progress

    def close(self) -> None:
        """Wait for the last save. Errors of a save, which goes on in a thread, come up here too."""
        with self._quiet, self._told():
            try:
                self._manager.wait_until_finished()
            finally:
                self._manager.close()

    def _check_room(self, needed: int) -> None:
        """Ask the disk before TensorStore does, whose threads report a failed write at length."""
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise self._refusal(
                f"it takes {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB of the disk are free"
            )

    def _refusal(self, why: str) -> PgvError:
        last = self.latest()
        kept = "none was complete" if last is None else f"the one of step {last} is kept"
        return PgvError(
            f"A checkpoint could not be written to {self._folder}: {why}; {kept}. Make room and "
            "run the same command again to continue."
        )

    @contextlib.contextmanager
    def _read(self, step: int) -> Iterator[None]:
        """Turn a checkpoint that is there and cannot be read into a sentence."""
        try:
            yield
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._quiet.pop_all()  # for good: echoes may come when all is closed
            older = [n for n in self._manager.all_steps() if n < step]
            then = f"continue from step {max(older)}" if older else "start again"
            why = " ".join(str(error).split())[:WHY].rstrip(".")
            raise PgvError(
                f"The checkpoint of step {step} cannot be read ({type(error).__name__}: {why}); "
                f"remove {self._folder / str(step)} to {then}."
            ) from None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn a save that the disk refuses into a sentence, in place of pages of tracebacks."""
        absl = logging.getLogger("absl")
        level = absl.level
        absl.setLevel(logging.CRITICAL)
        try:
            yield
        except (OSError, ValueError) as error:
            said = DISK.search(str(error))
            if said is None:
                raise
            self._quiet.pop_all()
            raise self._refusal(said[0].lower()) from None
        finally:
            absl.setLevel(level)


class _Echoes:
    """Leaves out what threads print of a disk that refuses, which itself comes up in the main one.

    Orbax closes an event loop at the first write or read that fails and waits for no other. Each of
    those then finds the loop closed: TensorStore's threads report that as unraisable, Orbax's own
    log the first failure with its traceback, asyncio logs those that nobody asked for, and
    Python warns of writes that were never begun.
    """

    LOGGERS = ("absl", "asyncio")

    def __enter__(self) -> _Echoes:
        # stays, since the warning comes when the process ends; it is about nothing else
        warnings.filterwarnings("ignore", "coroutine 'async_serialize_from_host", RuntimeWarning)
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._unraisable
        for name in self.LOGGERS:
            logging.getLogger(name).addFilter(self._logged)
        return self

    def _unraisable(self, told: Any) -> None:
        echo = told.exc_type is RuntimeError and str(told.exc_value) == "Event loop is closed"
        if not echo:
            self._hook(told)

    def _logged(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else ""
        return not DISK.search(f"{record.getMessage()} {error}")

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._hook
        for name in self.LOGGERS:
            logging.getLogger(name).removeFilter(self._logged)


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _leaves(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
