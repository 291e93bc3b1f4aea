"""The shortest way to the best purchase, for scripted players, oracles and statistics.

The expert knows the product behind the goal. It uses the searches that the environment suggests;
where none of them finds that product, it takes the one of their first results that earns most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgv_jax.tasks.webshop.catalogue import Product
from pgv_jax.tasks.webshop.instructions import Goal
from pgv_jax.tasks.webshop.pages import PER_PAGE, Place, Shop
from pgv_jax.tasks.webshop.reward import Nouns, option_matches, reward


@dataclass(frozen=True, slots=True)
class Errand:
    """What to buy: a row of the catalogue with option values, and searches that may find it."""

    row: int
    options: tuple[tuple[str, str], ...]
    queries: tuple[str, ...]


def errand_for(shop: Shop, goal: Goal, queries: Sequence[str], nouns: Nouns) -> Errand | None:
    """The best purchase that the searches lead to; None where they find nothing of worth."""
    products = shop.catalogue.products
    found = [shop.engine.search(query) for query in queries]
    rows = dict.fromkeys(row for hits in found for row in hits[:PER_PAGE])
    for hits in found:
        for row in hits:
            if products[row].asin == goal.product.asin:
                rows = {row: None}
    best, worth = None, 0.0
    for row in rows:
        options = wanted_options(products[row], goal.options)
        total = reward(products[row], goal.wanted, dict(options), nouns).total
        if total > worth:
            best, worth = Errand(row, options, tuple(queries)), total
    return best


def wanted_options(product: Product, values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Option name -> the value that serves the goal: equal to a wanted one, or counted as it.

    A value that a later option has too cannot be chosen (see ``Shop.buttons``).
    """
    chosen = {}
    reachable = {v: name for name, all_ in product.options.items() for v in all_}
    for name, offered in product.options.items():
        own = [value for value in offered if reachable[value] == name]
        exact = [value for value in own if value in values]
        close = [value for value in own if option_matches(name, value, values)]
        if exact or close:
            chosen[name] = (exact or close)[0]
    return tuple(chosen.items())


def distance(shop: Shop, errand: Errand, place: Place) -> int | None:
    """The least number of actions to the purchase; None after another one."""
    missing = sum(place.chosen.get(name) != value for name, value in errand.options)
    if place.page == "end":
        return 0 if place.product == errand.row and not missing else None
    if place.page == "search":
        return _from_search(shop, errand)
    back = 1 + _from_search(shop, errand)
    if place.page == "results":
        return min(back, _from_results(errand, place.hits, place.number))
    if place.product == errand.row:
        return 1 + missing + (place.page == "sub")
    to_results = 1 + (place.page == "sub")
    return min(back, to_results + _from_results(errand, place.hits, place.number))


def _from_search(shop: Shop, errand: Errand) -> int:
    ways = (_from_results(errand, shop.engine.search(query), 1) for query in errand.queries)
    return 1 + min(ways)


_FAR = 10**6


def _from_results(errand: Errand, hits: tuple[int, ...], number: int) -> int:
    """Turning pages, opening the product, choosing its options and buying it."""
    if errand.row not in hits:
        return _FAR
    page = 1 + hits.index(errand.row) // PER_PAGE
    return abs(page - number) + 1 + len(errand.options) + 1
