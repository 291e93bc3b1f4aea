"""The shop's pages and how actions lead from one to the next: WebShop's text environment.

Actions are ``search[words]`` and ``click[text]``, in any case. What can be clicked is what stands
on the page. ``think[...]`` changes nothing, ``reset`` is "Back to Search", ``exit[...]`` leaves
without buying: agents write all three, WebShop knows none of them. A search is understood on every
page, as in WebShop, though only the search page has a field for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from pgv_jax.tasks.webshop.catalogue import Catalogue, Product

PER_PAGE = 10
"""Products on a page of results."""
VERBS = ("search", "click", "think", "exit", "reset")
SUBPAGES = ("Description", "Features", "Reviews", "Attributes")
BACK, PREVIOUS, NEXT, BUY = "Back to Search", "< Prev", "Next >", "Buy Now"
_ACTION = re.compile(r"(\w+)\s*\[(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Action:
    """A verb of ``VERBS`` and what stands in its brackets."""

    verb: str
    argument: str = ""


def parse_action(text: str) -> Action | None:
    """Read an action; None where it is none. A missing last bracket is forgiven."""
    plain = " ".join(text.split())
    if plain.lower() in ("reset", "exit"):
        return Action(plain.lower())
    found = _ACTION.fullmatch(plain)
    if found is None or found[1].lower() not in VERBS:
        return None
    return Action(found[1].lower(), found[2].removesuffix("]").strip())


@dataclass(frozen=True, slots=True)
class Place:
    """Where the shopper is, and what was done on the way.

    ``page`` is "search", "results", "item", "sub" (a page about the product) or "end". ``hits`` are
    rows of the catalogue; ``product`` is the row of the open or bought product.
    """

    page: str = "search"
    query: str = ""
    hits: tuple[int, ...] = ()
    number: int = 1
    product: int | None = None
    sub: str = ""
    options: tuple[tuple[str, str], ...] = ()
    tried: tuple[str, ...] = ()
    """Queries so far, without repetitions."""
    read: tuple[str, ...] = ()
    """Pages about the open product that were opened."""
    seen: frozenset[int] = frozenset()
    """Products that were opened."""

    @property
    def shown(self) -> tuple[int, ...]:
        """Rows of the products on this page of results."""
        return self.hits[(self.number - 1) * PER_PAGE : self.number * PER_PAGE]

    @property
    def pages(self) -> int:
        """How many pages of results there are; at least one."""
        return max(1, -(-len(self.hits) // PER_PAGE))

    @property
    def chosen(self) -> dict[str, str]:
        """Option name -> chosen value."""
        return dict(self.options)


Move = Callable[[Place], Place]


class Engine(Protocol):
    """What finds products: ``search_engine.SearchEngine``, or a log's own results."""

    def search(self, query: str) -> tuple[int, ...]:
        """Rows of the catalogue, best first."""
        ...


@dataclass(frozen=True, slots=True)
class Shop:
    """The products and the search engine that finds them."""

    catalogue: Catalogue
    engine: Engine
    show_attributes: bool = False

    def product(self, place: Place) -> Product:
        """The open or bought product."""
        assert place.product is not None
        return self.catalogue.products[place.product]

    def buttons(self, place: Place) -> dict[str, Move]:
        """Text of everything that can be clicked -> where it leads, in the order of the page.

        Of two options with the same value the later one is meant, as in WebShop.
        """
        if place.page == "results":
            return self._results_buttons(place)
        if place.page == "item":
            return self._item_buttons(place)
        if place.page == "sub":
            return {BACK: _to_search, PREVIOUS: lambda at: replace(at, page="item", sub="")}
        return {}

    def _results_buttons(self, place: Place) -> dict[str, Move]:
        moves: dict[str, Move] = {BACK: _to_search}
        if place.number > 1:
            moves[PREVIOUS] = lambda at: replace(at, number=at.number - 1)
        if place.number < place.pages:
            moves[NEXT] = lambda at: replace(at, number=at.number + 1)
        for row in place.shown:
            moves[self.catalogue.products[row].asin] = _opening(row)
        return moves

    def _item_buttons(self, place: Place) -> dict[str, Move]:
        moves: dict[str, Move] = {BACK: _to_search, PREVIOUS: _to_results}
        for name in SUBPAGES if self.show_attributes else SUBPAGES[:-1]:
            moves[name] = _reading(name)
        moves[BUY] = lambda at: replace(at, page="end")
        for name, values in self.product(place).options.items():
            for value in values:
                moves[value] = _choosing(name, value)
        return moves

    def follow(self, place: Place, action: Action | None) -> Place | None:
        """Where an action leads; None where it is not understood here."""
        if action is None or place.page == "end":
            return None
        if action.verb == "think":
            return place
        if action.verb == "reset":
            return _to_search(place)
        if action.verb == "exit":
            return replace(place, page="end", product=None)
        if action.verb == "search":
            return self._search(place, " ".join(action.argument.lower().split()))
        wanted = " ".join(action.argument.lower().split())
        for text, move in self.buttons(place).items():
            if " ".join(text.lower().split()) == wanted:
                return move(place)
        return None

    def _search(self, place: Place, query: str) -> Place | None:
        if not query:
            return None
        tried = place.tried if query in place.tried else (*place.tried, query)
        hits = self.engine.search(query)
        return Place("results", query, hits, tried=tried, seen=place.seen)


def _to_search(place: Place) -> Place:
    return Place(tried=place.tried, seen=place.seen)


def _to_results(place: Place) -> Place:
    return replace(place, page="results", product=None, options=(), read=())


def _opening(row: int) -> Move:
    return lambda at: replace(
        at, page="item", product=row, options=(), read=(), seen=at.seen | {row}
    )


def _reading(name: str) -> Move:
    return lambda at: replace(
        at, page="sub", sub=name, read=at.read if name in at.read else (*at.read, name)
    )


def _choosing(name: str, value: str) -> Move:
    return lambda at: replace(at, options=tuple(sorted({**at.chosen, name: value}.items())))
