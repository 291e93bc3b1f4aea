"""What shoppers are asked to buy: goals made from products, and goals that people wrote.

Both as in WebShop: a *synthetic* goal is a product's instruction with one value of each of its
options, a *human* one an instruction that somebody wrote for a product; either may get a price
limit, the higher of two multiples of ten dollars among the four above the price. WebShop draws
limits without a seed; here the goal's id is the seed.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.tasks.webshop.catalogue import Catalogue, Product
from pgv_jax.tasks.webshop.reward import Wanted

KINDS = ("synthetic", "human")
NO_LIMIT = 1_000_000.0
"""Dollars of a limit that is none, as in WebShop."""
LIMITS = tuple(10.0 * i for i in range(1, 100))
HELD_OUT = 500
"""Goals that are held out at most; of WebShop's shuffled human goals, the first 500."""
_SHUFFLE = 233
"""WebShop's seed of the order of goals."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One task of the shop. ``options`` are the values that the reward asks for."""

    goal_id: str
    instruction: str
    product: Product
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    price_limit: float

    @property
    def wanted(self) -> Wanted:
        """What the reward compares a purchase with."""
        return Wanted(self.product, self.attributes, self.options, self.price_limit)


def make_goals(catalogue: Catalogue, kind: str, combinations: int = 1) -> dict[str, list[Goal]]:
    """Goals of the splits "train" and "test".

    Of human goals, shuffled as WebShop does, the first 500 are the test (of fewer than 2,500, a
    fifth). Synthetic ones are split by product: a fifth, at most 500 products. ``combinations`` is
    how many combinations of option values become goals, for each product; 0: all, as in WebShop.
    """
    if kind not in KINDS:
        raise PgvError(f"Goals of kind '{kind}' are unknown; use one of: {', '.join(KINDS)}.")
    if kind == "human":
        goals = _human_goals(catalogue)
        held_out = set(range(_held_out(len(goals))))
        splits = [i in held_out for i in range(len(goals))]
    else:
        goals = _synthetic_goals(catalogue, combinations)
        asins = sorted({goal.product.asin for goal in goals}, key=_rank)
        chosen = set(asins[: _held_out(len(asins))])
        splits = [goal.product.asin in chosen for goal in goals]
    if not goals:
        missing = "items_human_ins*.json" if kind == "human" else "items_ins_v2*.json"
        raise PgvError(
            f"There are no {kind} goals for {catalogue.source}; WebShop keeps them in "
            f"{missing}, beside the products."
        )
    parts = list(zip(goals, splits, strict=True))
    return {
        "train": [goal for goal, test in parts if not test],
        "test": [goal for goal, test in parts if test],
    }


def _held_out(count: int) -> int:
    return min(HELD_OUT, max(1, round(count / 5)))


def _rank(asin: str) -> bytes:
    return hashlib.sha256(asin.encode()).digest()


def _synthetic_goals(catalogue: Catalogue, combinations: int) -> list[Goal]:
    goals = []
    for product in catalogue.products:
        if not product.instruction or not product.instruction_attributes:
            continue
        for number, options in enumerate(_combinations(product, combinations)):
            goal_id = f"{product.asin}-{number}"
            limit, limit_text = _limit(product.price, goal_id)
            chosen = ", and ".join(f"{name}: {value}" for name, value in options)
            chosen = f" with {chosen}" if chosen else ""
            goals.append(
                Goal(
                    goal_id,
                    f"{product.instruction}{chosen}{limit_text}",
                    product,
                    product.instruction_attributes,
                    tuple(value for _, value in options),
                    limit,
                )
            )
    return goals


def _combinations(product: Product, most: int) -> list[tuple[tuple[str, str], ...]]:
    """Some combinations of one value of each option, drawn by the product's id."""
    names = sorted(product.options)
    sizes = [len(product.options[name]) for name in names]
    total = math.prod(sizes)
    rng = random.Random(f"options/{product.asin}")
    picked = range(total) if not most or most >= total else rng.sample(range(total), most)
    values = []
    for index in picked:
        combination = []
        for name, size in zip(reversed(names), reversed(sizes), strict=True):
            index, place = divmod(index, size)
            combination.append((name, product.options[name][place]))
        values.append(tuple(reversed(combination)))
    return values


def _human_goals(catalogue: Catalogue) -> list[Goal]:
    said: list[tuple[Product, Mapping[str, Any]]] = [
        (product, entry)
        for product in catalogue.products
        for entry in catalogue.human.get(product.asin, ())
        if entry["instruction_attributes"]
    ]
    random.Random(_SHUFFLE).shuffle(said)
    goals = []
    for number, (product, entry) in enumerate(said):
        goal_id = f"human-{number}"
        limit, limit_text = _limit(product.price, goal_id)
        instruction = str(entry["instruction"]).strip(".")
        goals.append(
            Goal(
                goal_id,
                f"{instruction}{limit_text}",
                product,
                tuple(entry["instruction_attributes"]),
                _values(entry.get("instruction_options") or ()),
                limit,
            )
        )
    return goals


def _values(options: Mapping[str, str] | Sequence[str]) -> tuple[str, ...]:
    return tuple(options.values() if isinstance(options, Mapping) else options)


def _limit(price: float, goal_id: str) -> tuple[float, str]:
    """The price limit and how the instruction says it; none above 980 dollars."""
    above = list(itertools.islice((limit for limit in LIMITS if limit > price), 4))
    if len(above) < 2:
        return NO_LIMIT, ""
    limit = max(random.Random(f"limit/{goal_id}").sample(above, 2))
    return limit, f", and price lower than {limit:.2f} dollars"
