import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.llm.budget import Budget, Prices, Spend, worst_case
from pgv_jax.llm.client import ClientError, Request

PRICES = Prices({"m": {"input": 2.0, "output": 10.0}})


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def use(tokens: int, dollars: float = 0.0) -> Spend:
    return Spend(1, tokens, 0, dollars)


@settings(max_examples=50, deadline=None)
@given(
    limit=st.integers(0, 60),
    calls=st.lists(
        st.tuples(
            st.integers(1, 20), st.floats(0, 1), st.sampled_from(["settle", "lost", "release"])
        ),
        max_size=30,
    ),
)
def test_a_limit_is_never_passed_and_a_call_that_fits_is_made(
    limit: int, calls: list[tuple[int, float, str]]
) -> None:
    async def main() -> None:
        budget = Budget(tokens=limit)

        async def call(worst: int, share: float, end: str) -> None:
            try:
                reservation = await budget.reserve(use(worst))
            except ClientError as error:
                assert error.kind == "budget" and error.stops_run
                assert budget.spent.tokens + worst > limit
                return
            assert budget.spent.tokens + budget.reserved.tokens <= limit
            await asyncio.sleep(0)
            if end == "settle":
                reservation.settle(use(int(worst * share)))
            else:
                getattr(reservation, end)()
            assert budget.spent.tokens <= limit

        await asyncio.gather(*(call(*each) for each in calls))
        assert budget.reserved == Spend()

    run(main())


def test_a_call_waits_for_room_that_calls_in_flight_may_leave() -> None:
    async def main() -> int:
        budget = Budget(requests=2, tokens=100)
        first = await budget.reserve(use(90))
        second = asyncio.create_task(budget.reserve(use(50)))
        await asyncio.sleep(0)
        assert not second.done()
        first.settle(use(10))
        (await second).settle(use(50))
        with pytest.raises(ClientError, match="budget of 2 requests stops the run: 2 are spent"):
            await budget.reserve(use(1))
        return budget.spent.tokens

    assert run(main()) == 60


def test_a_reservation_counts_once() -> None:
    async def main() -> Spend:
        budget = Budget()
        reservation = await budget.reserve(use(9))
        reservation.settle(use(4))
        reservation.settle(use(4))
        reservation.lost()
        return budget.spent + budget.uncertain

    assert run(main()) == use(4)


def test_the_ledger_remembers_and_counts_what_a_kill_left_open_in_full(tmp_path: Path) -> None:
    async def main() -> None:
        budget = Budget(tokens=100, ledger=tmp_path)
        (await budget.reserve(use(50))).settle(use(20))
        (await budget.reserve(use(50))).release()
        await budget.reserve(use(30))  # the process dies here
        budget.close()

    run(main())
    again = Budget(tokens=100, ledger=tmp_path)
    assert again.spent == Spend(2, 50, 0, 0.0)
    assert again.uncertain == use(30)
    with pytest.raises(ClientError, match="100 tokens stops the run: 50 are spent"):
        run(again.reserve(use(51)))
    run(again.reserve(use(50)))
    again.close()


@pytest.mark.parametrize(
    "spend",
    [
        {"requests": 1, "prompt_tokens": -1_000_000, "completion_tokens": 0, "dollars": 0.0},
        {"requests": 1, "prompt_tokens": 0, "completion_tokens": 0, "dollars": float("nan")},
        {"requests": 1, "prompt_tokens": "many", "completion_tokens": 0, "dollars": 0.0},
        {"requests": 1},
        None,
    ],
)
def test_a_ledger_that_would_loosen_the_limits_is_refused(tmp_path: Path, spend: Any) -> None:
    budget = Budget(tokens=100, ledger=tmp_path)
    budget._write({"settle": "x", "spend": spend})
    budget.close()
    with pytest.raises(PgvError, match=r"holds a spend that is none, .*take that line out"):
        Budget(tokens=100, ledger=tmp_path)


def test_dollars_come_from_the_users_table_alone(tmp_path: Path) -> None:
    assert PRICES.dollars("m", 1_000_000, 100_000) == pytest.approx(3.0)
    assert PRICES.dollars("other", 10, 10) == 0.0
    with pytest.raises(PgvError, match="needs the price of 'other'"):
        PRICES.require("other")
    (tmp_path / "prices.yaml").write_text("m: {input: 2, output: 10}\n")
    assert Prices.load(tmp_path / "prices.yaml").dollars("m", 500_000, 0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "text", ["m: {input: 2}", "m: {input: -1, output: 1}", "m: {input: .nan, output: 1}", "m: 3"]
)
def test_a_wrong_price_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(PgvError, match="the row of 'm'"):
        Prices.load(tmp_path / "prices.yaml")


@pytest.mark.parametrize("text", ["- 1", "{", None])
def test_a_table_that_is_none_is_told(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(PgvError, match="price table"):
        Prices.load(tmp_path / "prices.yaml")


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(1, 5))
def test_the_worst_case_bounds_byte_level_tokenizers(texts: list[str], n: int) -> None:
    request = Request([{"role": "user", "content": text} for text in texts], max_tokens=7)
    worst = worst_case(request, n, PRICES, "m")
    assert worst.prompt_tokens >= sum(len(t.encode("utf-8", "surrogatepass")) for t in texts)
    assert worst.completion_tokens == 7 * n
    assert worst.dollars > 0


def test_a_negative_limit_is_told() -> None:
    with pytest.raises(PgvError, match="budget of -1 tokens"):
        Budget(tokens=-1)
