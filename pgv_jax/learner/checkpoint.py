"""The resumable state of a training run, kept by Orbax. The published critic is the artifact."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
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
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract._asdict())),
        )["state"]
        return State(**jax.tree.map(lambda x: x, restored)), progress

    def close(self) -> None:
        """Wait for the last save. Errors of a save, which goes on in a thread, come up here too."""
        with self._told():
            self._manager.wait_until_finished()
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
            raise self._refusal(said[0].lower()) from None
        finally:
            absl.setLevel(level)


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _leaves(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
