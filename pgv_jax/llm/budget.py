"""What a run may spend: requests, tokens and dollars, never passed and remembered across kills.

Before a call its worst case is reserved, and a call whose worst case does not fit is not made;
afterwards the reservation is settled with what was really used. A reply that was lost on the way
may have been billed, so it is settled at its worst case.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.llm.client import ClientError, Request
from pgv_jax.llm.journal import Journal


@dataclass(frozen=True, slots=True)
class Spend:
    """Requests that were or may have been billed, their tokens, and dollars by the user's table."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.prompt_tokens + self.completion_tokens

    def to_json(self) -> dict[str, float]:
        """The fields by name (``dataclasses.asdict`` is a tenth of what the runner adds a call)."""
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "dollars": self.dollars,
        }

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.dollars + other.dollars,
        )

    def __sub__(self, other: Spend) -> Spend:
        return Spend(
            self.requests - other.requests,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.dollars - other.dollars,
        )


class Prices:
    """Dollars per million tokens, from a table that the user keeps; there is no built-in one.

    The file is YAML or JSON: ``MODEL: {input: 2.5, output: 10.0}``.
    """

    def __init__(self, table: Mapping[str, Mapping[str, float]] | None = None, source: str = ""):
        self._source = source or "the price table"
        self._table: dict[str, tuple[float, float]] = {}
        for model, row in (table or {}).items():
            try:
                prices = float(row["input"]), float(row["output"])
            except (KeyError, TypeError, ValueError):
                prices = (-1.0, -1.0)
            if not (0.0 <= prices[0] < float("inf") and 0.0 <= prices[1] < float("inf")):
                raise PgvError(
                    f"{self._source}: the row of '{model}' is {row!r}; write dollars per million "
                    "tokens as {input: 2.5, output: 10.0}."
                )
            self._table[str(model)] = prices

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Prices:
        """Read the table from a YAML or JSON file."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".json":
                table = json.loads(text)
            else:
                import yaml

                table = yaml.safe_load(text)
        except (OSError, ValueError) as error:
            raise PgvError(f"The price table {path} cannot be read: {error}.") from None
        except Exception as error:  # yaml.YAMLError, known only where yaml is needed
            raise PgvError(f"The price table {path} is not YAML: {error}.") from None
        if not isinstance(table, dict):
            raise PgvError(f"The price table {path} holds no rows such as MODEL: {{input: 2.5}}.")
        return cls(table, str(path))

    def __contains__(self, model: str) -> bool:
        return model in self._table

    def dollars(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        """What the tokens cost; 0 for a model that the table does not name."""
        per_input, per_output = self._table.get(model, (0.0, 0.0))
        return (prompt_tokens * per_input + completion_tokens * per_output) / 1e6

    def require(self, model: str) -> None:
        """Raise unless ``model`` has a price: a dollar budget is blind without one."""
        if model not in self._table:
            raise PgvError(
                f"A budget in dollars needs the price of '{model}', but {self._source} has no such "
                "row; add it, or set a budget in tokens or requests."
            )


def worst_case(request: Request, n: int, prices: Prices, model: str) -> Spend:
    """The most that one call for ``n`` samples can use: a token is at least one byte of text.

    Each message gets 16 tokens on top for the roles and separators of a chat template.
    """
    prompt = 16
    for message in request.messages:
        text = json.dumps(dict(message), ensure_ascii=False, default=str)
        prompt += 16 + len(text.encode("utf-8", "surrogatepass"))
    if request.response_format is not None:
        prompt += len(json.dumps(request.response_format, default=str))
    if request.tools:  # a server may write them out as text, in a form of its own
        prompt += 2 * len(json.dumps(request.tools, default=str))
    completion = n * request.max_tokens
    return Spend(1, prompt, completion, prices.dollars(model, prompt, completion))


class Budget:
    """Limits on spend (None: no limit), and what was spent, kept in ``ledger`` if one is given.

    One ledger folder belongs to one run (or to one shard of it): reservations that a killed
    process left open count at their worst case, so the limit holds across kill -9.
    """

    def __init__(
        self,
        requests: int | None = None,
        tokens: int | None = None,
        dollars: float | None = None,
        ledger: str | os.PathLike[str] | None = None,
    ):
        self.limits: dict[str, float | None] = {
            "requests": requests,
            "tokens": tokens,
            "dollars": dollars,
        }
        for name, limit in self.limits.items():
            if limit is not None and not limit >= 0:
                raise PgvError(f"A budget of {limit} {name} is not possible; give 0 or more.")
        self.spent = Spend()
        self.reserved = Spend()
        self.uncertain = Spend()
        self._waiters: list[asyncio.Future[None]] = []
        self._journal = Journal(ledger) if ledger is not None else None
        if self._journal is not None:
            self._restore(self._journal)

    async def reserve(self, worst: Spend) -> Reservation:
        """Set ``worst`` aside, after waiting for calls in flight if they may leave enough room.

        Raises a ``ClientError`` of kind "budget" where the call could pass a limit.
        """
        while self._passed(self.spent + self.reserved + worst) is not None:
            hopeless = self._passed(self.spent + worst)
            if hopeless is not None:
                raise self._exhausted(hopeless, worst)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        reservation = Reservation(self, worst)
        self.reserved += worst
        self._write({"reserve": reservation.name, "spend": worst.to_json()})
        return reservation

    def close(self) -> None:
        """Close the ledger's file."""
        if self._journal is not None:
            self._journal.close()

    def _settle(self, reservation: Reservation, actual: Spend) -> None:
        self.reserved -= reservation.worst
        if not self.reserved.requests:
            self.reserved = Spend()  # sums of floats leave dust behind
        self.spent += actual
        self._write({"settle": reservation.name, "spend": actual.to_json()})
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _passed(self, total: Spend) -> str | None:
        for name, limit in self.limits.items():
            # 1e-9 dollars: sums of prices are floats, and a budget met exactly is not passed
            if limit is not None and getattr(total, name) > limit + 1e-9:
                return name
        return None

    def _exhausted(self, name: str, worst: Spend) -> ClientError:
        spent, limit = getattr(self.spent, name), self.limits[name]
        form = "{:.4f}" if name == "dollars" else "{:.0f}"
        return ClientError(
            "budget",
            f"The budget of {form.format(limit)} {name} stops the run: {form.format(spent)} are "
            f"spent and the next call may take {form.format(getattr(worst, name))}; raise it, then "
            "run the same command again to continue.",
        )

    def _restore(self, journal: Journal) -> None:
        opened: dict[str, Spend] = {}
        for path, _, _, record in journal.read():
            spend = _spend(record.get("spend"), path)
            if "reserve" in record:
                opened[str(record["reserve"])] = spend
            elif "settle" in record:
                opened.pop(str(record["settle"]), None)
                self.spent += spend
        for spend in opened.values():
            self.spent += spend
            self.uncertain += spend

    def _write(self, record: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.append(record)


class Reservation:
    """Room in a budget for one call; settle it exactly once."""

    __slots__ = ("_budget", "name", "worst")

    def __init__(self, budget: Budget, worst: Spend):
        self._budget: Budget | None = budget
        self.worst = worst
        self.name = secrets.token_hex(8)

    def settle(self, actual: Spend) -> None:
        """The call was answered and used this much."""
        self._close(actual)

    def lost(self) -> None:
        """The reply never arrived whole; it may have been billed, so it counts in full."""
        if self._budget is not None:
            self._budget.uncertain += self.worst
        self._close(self.worst)

    def release(self) -> None:
        """The call was refused unbilled, or never left."""
        self._close(Spend())

    def _close(self, actual: Spend) -> None:
        budget, self._budget = self._budget, None
        if budget is not None:
            budget._settle(self, actual)


def _spend(record: Any, path: Path) -> Spend:
    """A spend of the ledger; what none can be would loosen the limits, so it is refused."""
    try:
        spend = Spend(
            int(record["requests"]),
            int(record["prompt_tokens"]),
            int(record["completion_tokens"]),
            float(record["dollars"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        spend = Spend(-1)
    if not all(0 <= amount < float("inf") for amount in spend.to_json().values()):
        raise PgvError(
            f"The ledger {path} holds a spend that is none, {json.dumps(record)[:120]}; take that "
            "line out, and lower the budget by what the vendor's bill says of it."
        )
    return spend
