"""What a run writes while it learns.

``metrics.jsonl``  one JSON object a log point: a function of the data and the configuration alone
``speed.jsonl``    one JSON object a queue of calls: how fast this machine was

Both stay consistent over interruptions. TensorBoard and Weights & Biases are told the same.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, Protocol

from pgv_jax.config import Config
from pgv_jax.errors import PgvError
from pgv_jax.files import delete_unfinished, write_whole
from pgv_jax.parts import part


class Sink(Protocol):
    """Takes named numbers at a step."""

    def write(self, values: dict[str, Any]) -> None:
        """Write ``values``, of which one is ``step``."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class JsonLines:
    """Append-only lines with a ``step``; opening for a resumed run drops what lies after it."""

    def __init__(self, path: Path, after: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= after:
                        kept.append(line + "\n")
                except (ValueError, KeyError, TypeError):
                    continue  # the torn last line of a killed run
        write_whole(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """Write one line and flush it."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Scalars for TensorBoard, in ``folder``."""

    def __init__(self, folder: Path, after: int):
        with part("tensorboard", "train.tensorboard"):
            from tensorboardX import SummaryWriter
        self._writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)

    def write(self, values: dict[str, Any]) -> None:
        """Add each number as a curve of its name."""
        for name, value in values.items():
            if name != "step":
                self._writer.add_scalar(name, value, values["step"])

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class WandB:
    """A Weights & Biases run; its account and mode come from that library's own environment."""

    def __init__(self, project: str, folder: Path, config: Config):
        with part("wandb", "train.wandb"):
            import wandb
        try:
            self._run = wandb.init(
                project=project,
                id=_run_id(folder),  # the same run goes on after an interruption
                resume="allow",
                dir=str(folder),
                config=config.model_dump(mode="json", exclude={"data": {"dataset", "store"}}),
            )
        except wandb.Error as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise PgvError(
                f"Weights & Biases did not begin a run in project '{project}': {why}. Log in with "
                "`wandb login`, set WANDB_MODE=offline, or leave train.wandb out."
            ) from None
        # W&B's own step may only grow, and drops what an interrupted run tells again.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def write(self, values: dict[str, Any]) -> None:
        """Log the numbers at their step."""
        self._run.log(values)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _run_id(folder: Path) -> str:
    """The identifier that a folder's run keeps over its interruptions."""
    marker = folder / "wandb-run-id"
    known = marker.read_text("utf-8").strip() if marker.exists() else ""
    if not known:
        folder.mkdir(parents=True, exist_ok=True)
        known = secrets.token_hex(4)
        marker.write_text(known, "utf-8")
    return known


class Recorder:
    """All that a run's writer keeps; nothing in the other processes."""

    def __init__(self, workdir: Path, config: Config, after: int, writes: bool):
        self._metrics: list[Sink] = []
        self._speed: list[Sink] = []
        if not writes:
            return
        delete_unfinished(workdir)
        both: list[Sink] = []
        if config.train.tensorboard:
            both.append(TensorBoard(workdir / "tensorboard", after))
        if config.train.wandb:
            both.append(WandB(config.train.wandb, workdir, config))
        self._metrics = [JsonLines(workdir / "metrics.jsonl", after), *both]
        self._speed = [JsonLines(workdir / "speed.jsonl", after), *both]

    def metrics(self, values: dict[str, Any]) -> None:
        """Record what was learned up to ``values["step"]``."""
        for sink in self._metrics:
            sink.write(values)

    def speed(self, values: dict[str, Any]) -> None:
        """Record how fast the last call was."""
        for sink in self._speed:
            sink.write(values)

    def close(self) -> None:
        """Close everything that was opened."""
        for sink in {id(sink): sink for sink in (*self._metrics, *self._speed)}.values():
            sink.close()


def metrics_of(workdir: Path) -> list[dict[str, Any]]:
    """What a run in ``workdir`` has recorded so far, a log point each."""
    lines = (workdir / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]
