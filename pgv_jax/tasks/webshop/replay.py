"""Human click logs of WebShop, replayed: page views become actions, actions the same page views.

A log is JSON lines, one a page view: ``page`` (index, search_results, item_page, item_sub_page,
done), ``url``, ``goal``, ``content`` and, at its end, ``reward``. It names the products that were
shown and the options that were chosen; what else the products are it does not tell. ``shop_of``
stocks a shop with that much, so that logs replay without the catalogue that they were made with.
"""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pgv_jax.errors import PgvError
from pgv_jax.tasks.webshop.catalogue import Catalogue, Product
from pgv_jax.tasks.webshop.instructions import Goal
from pgv_jax.tasks.webshop.pages import (
    BACK,
    BUY,
    NEXT,
    PER_PAGE,
    PREVIOUS,
    SUBPAGES,
    Place,
    Shop,
    parse_action,
)

PAGES = {
    "index": "search",
    "search_results": "results",
    "item_page": "item",
    "item_sub_page": "sub",
    "done": "end",
}
"""A log's name of a page -> ours."""


@dataclass(frozen=True, slots=True)
class View:
    """One page view of a log."""

    page: str
    query: str = ""
    number: int = 1
    shown: tuple[str, ...] = ()
    asin: str = ""
    sub: str = ""
    options: tuple[tuple[str, str], ...] = ()
    price: float | None = None


@dataclass(frozen=True, slots=True)
class ClickLog:
    """A shopper's page views; ``reward`` and its parts as they were paid, None without a buy."""

    goal: Goal
    views: tuple[View, ...]
    reward: float | None
    parts: Mapping[str, Any]


def read_click_log(path: Path | str) -> ClickLog:
    """Read one log."""
    path = Path(path)
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    records = [_record(line, f"{path}:{number}") for number, line in lines if line.strip()]
    if not records:
        raise PgvError(f"{path} holds no page views.")
    last = records[-1]
    views = tuple(_view(record) for record in records)
    return ClickLog(
        _goal(records[0]["goal"], path.stem), views, last.get("reward"), last.get("reward_info", {})
    )


def _record(line: str, where: str) -> Mapping[str, Any]:
    """A checked line of a log."""
    try:
        record: Mapping[str, Any] = json.loads(line)
        _view(record)
        _goal(record["goal"], "")
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError, StopIteration) as error:
        raise PgvError(
            f"{where}: no page view of WebShop ({type(error).__name__}: {error})."
        ) from None
    return record


def _goal(told: Mapping[str, Any], goal_id: str) -> Goal:
    options = told["goal_options"]
    product = Product(
        told["asin"],
        told["name"],
        told["category"],
        told["query"],
        told["product_category"],
    )
    return Goal(
        goal_id,
        told["instruction_text"],
        product,
        tuple(told["attributes"]),
        tuple(options.values() if isinstance(options, Mapping) else options),
        float(told["price_upper"]),
    )


def _view(record: Mapping[str, Any]) -> View:
    page, content = PAGES[record["page"]], record.get("content", {})
    words = content.get("keywords", ())
    if isinstance(words, str):
        words = literal_eval(words)
    price = content.get("price")
    return View(
        page,
        " ".join(words).lower(),
        int(content.get("page", 1)),
        tuple(content.get("search_result_asins", ())),
        content.get("asin", ""),
        _sub(record["url"]) if page == "sub" else "",
        tuple(sorted(content.get("options", {}).items())),
        None if price is None else float(price),
    )


def _sub(url: str) -> str:
    """The part of the address that names the page about the product."""
    return next(part for part in unquote(urlsplit(url).path).split("/") if part in SUBPAGES)


class RecordedEngine:
    """A search engine that finds what a log's searches found."""

    def __init__(self, found: Mapping[str, Sequence[int]]):
        self._found = {query: tuple(rows) for query, rows in found.items()}

    def search(self, query: str) -> tuple[int, ...]:
        """Rows of the products that the log shows for a query; none for one it does not have."""
        return self._found.get(query.lower(), ())


def shop_of(log: ClickLog) -> Shop:
    """A shop that sells what the log shows; of most products it knows the id and some options."""
    options: dict[str, dict[str, dict[str, None]]] = {}
    prices: dict[str, float] = {}
    found: dict[str, dict[int, tuple[str, ...]]] = {}
    for view in log.views:
        for asin in (*view.shown, *((view.asin,) if view.asin else ())):
            options.setdefault(asin, {})
        for name, value in view.options:
            options[view.asin].setdefault(name, {})[value] = None
        if view.price is not None:
            prices[view.asin] = view.price
        if view.page == "results":
            found.setdefault(view.query, {})[view.number] = view.shown
    products, goal = [], log.goal.product
    for asin, offered in options.items():
        known = goal if asin == goal.asin else Product(asin, asin)
        products.append(
            Product(
                asin,
                known.title,
                known.category,
                known.query,
                known.product_category,
                options={name: tuple(values) for name, values in offered.items()},
                price=prices.get(asin, known.price),
            )
        )
    rows = {product.asin: row for row, product in enumerate(products)}
    engine = RecordedEngine({query: _in_order(pages, rows) for query, pages in found.items()})
    return Shop(Catalogue(tuple(products), "a click log"), engine)


def _in_order(pages: Mapping[int, tuple[str, ...]], rows: Mapping[str, int]) -> list[int]:
    """The results of all pages; a page that the log skips is filled up with its first product."""
    first = rows[next(iter(pages.values()))[0]] if any(pages.values()) else 0
    found: list[int] = []
    for number in range(1, max(pages) + 1):
        shown = [rows[asin] for asin in pages.get(number, ())]
        last = number == max(pages)
        found += shown if last else (shown + [first] * PER_PAGE)[:PER_PAGE]
    return found


def replay(shop: Shop, log: ClickLog) -> Iterator[tuple[str, Place]]:
    """Yield every action that the log's page views stand for, and the place that it leads to.

    Raises PgvError where an action is not understood or leads to another page than the log's.
    """
    place = Place()
    for number, view in enumerate(log.views, 1):
        for action in _actions(place, view, shop):
            after = shop.follow(place, parse_action(action))
            if after is None:
                raise PgvError(f"Page view {number}: '{action}' is not understood there.")
            place = after
            yield action, place
        if not _same(shop, place, view):
            raise PgvError(f"Page view {number}: the log is at {view}, the replay at {place}.")


def _actions(place: Place, view: View, shop: Shop) -> list[str]:
    """What leads from a place to the next page view."""
    if view.page == "search":
        return [] if place.page == "search" else [f"click[{BACK}]"]
    if view.page == "results":
        return _to_results(place, view)
    if view.page == "sub":
        return [f"click[{view.sub}]"]
    if view.page == "end":
        return [f"click[{BUY}]"]
    if place.page == "sub":
        return [f"click[{PREVIOUS}]"]
    if place.page == "item" and shop.product(place).asin == view.asin:
        changed = [value for name, value in view.options if place.chosen.get(name) != value]
        return [f"click[{value}]" for value in changed]
    return [f"click[{view.asin}]"]


def _to_results(place: Place, view: View) -> list[str]:
    if place.page == "search" or place.query != view.query:
        return [f"search[{view.query}]", *[f"click[{NEXT}]"] * (view.number - 1)]
    if place.page in ("item", "sub"):
        return [f"click[{PREVIOUS}]"] * (1 + (place.page == "sub"))
    turned = view.number - place.number
    return [f"click[{NEXT if turned > 0 else PREVIOUS}]"] * abs(turned)


def _same(shop: Shop, place: Place, view: View) -> bool:
    """Whether place and page view are the same, as far as the log tells."""
    asin = shop.product(place).asin if place.product is not None else ""
    same = place.page == view.page and asin == view.asin and place.sub == view.sub
    if view.page == "results":
        shown = tuple(shop.catalogue.products[row].asin for row in place.shown)
        same = same and (place.query, place.number, shown) == (view.query, view.number, view.shown)
    if view.page in ("item", "end"):
        same = same and place.options == view.options
    return same
