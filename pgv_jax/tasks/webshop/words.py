"""The shop in words: progress notes, reasons for actions, and searches that one would try.

Everything here is a fixed, hand-written wording, truthful by construction, of what the page shows
and the task says; nothing looks at the goal behind the task. A note is a list of independent
simple sentences. How well a text fits the task is a grade: how many of the task's words it has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pgv_jax.tasks.webshop.catalogue import Product
from pgv_jax.tasks.webshop.page_text import subpage_texts
from pgv_jax.tasks.webshop.pages import BACK, BUY, NEXT, PREVIOUS, SUBPAGES, Action, Place, Shop

GRADES = ("none", "few", "some", "most", "all")
"""Shares of the task's words in a text: 0, below .3, below .6, below 1, 1."""
NAME_WORDS = 10
"""Words of a title that a note repeats."""
QUOTED_WORDS = 40
"""Words of a description or of the features that a note repeats."""

_LIMIT = re.compile(
    r",?\s*(?:and\s+)?(?:with\s+(?:a\s+)?)?(?:the\s+)?price\s+(?:lower|less)\s+than\s+\$?"
    r"(\d+(?:\.\d+)?)(?:\s+dollars)?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z0-9]+(?:[.'][a-z0-9]+)*")
_PLAIN = re.compile(r"\d+\.\d+|[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*")
_FILLER_WORDS = (
    "a an the and or for with without of in on at to by from as that this these those it its is "
    "are be has have which i me my am im we you your he she they them find need want would like "
    "looking look get buy some any please also should can will just really very color colored "
    "colour style flavor item items product products interested"
)
_FILLER = frozenset(_FILLER_WORDS.split())


@dataclass(frozen=True, slots=True)
class Wish:
    """What an instruction says: its telling words in their order, and the price limit if any."""

    words: tuple[str, ...]
    limit: float | None

    def grade(self, text: str) -> int:
        """Index into ``GRADES``."""
        if not self.words:
            return 0
        there = _stems(text)
        share = sum(_stem(word) in there for word in self.words) / len(self.words)
        return 0 if share == 0 else 1 if share < 0.3 else 2 if share < 0.6 else 3 + (share == 1)

    def names(self, value: str) -> bool:
        """Whether every telling word of an option's value stands in the task."""
        words = _stems(value)
        return bool(words) and words <= _stems(" ".join(self.words))

    def fits(self, product: Product) -> bool | None:
        """Whether the shown price is within the limit; None without a limit, or if it may be."""
        shown = product.shown_prices
        if self.limit is None or shown[0] <= self.limit < shown[-1]:
            return None
        return shown[-1] <= self.limit


@lru_cache(4096)
def read_wish(instruction: str) -> Wish:
    """Read an instruction."""
    found = _LIMIT.search(instruction)
    words = telling_words(_LIMIT.sub("", instruction))
    return Wish(tuple(dict.fromkeys(words)), float(found[1]) if found else None)


def telling_words(text: str) -> list[str]:
    """The words of a text in lower case, without those that any wish has."""
    return [word for word in _WORD.findall(text.lower()) if word not in _FILLER]


def _stem(word: str) -> str:
    return word.removesuffix("'s").removesuffix("s") if len(word) > 3 else word


@lru_cache(1 << 14)
def _stems(text: str) -> frozenset[str]:
    """The telling words of a text, without plural endings; titles come back on many pages."""
    return frozenset(_stem(word) for word in telling_words(text))


def suggested_queries(wish: Wish) -> list[str]:
    """Searches that one would try: all words, the first and the last four, the first two."""
    words = wish.words or ("product",)
    tries = (words, words[:4], words[-4:], words[:2])
    return list(dict.fromkeys(" ".join(part) for part in tries))


def note(shop: Shop, place: Place, wish: Wish) -> str:
    """The progress note: one fact a sentence, in a fixed wording and order."""
    writers = {"search": _search_note, "results": _results_note, "end": _end_note}
    lines = writers.get(place.page, _item_note)(shop, place, wish)
    return " ".join(dict.fromkeys(lines))


def _search_note(shop: Shop, place: Place, wish: Wish) -> list[str]:
    tried = [_plain(query, NAME_WORDS) for query in place.tried]
    searches = [f"You have searched for {query}." for query in dict.fromkeys(tried) if query]
    return ["You are on the search page.", *(searches or ["You have not searched yet."])]


def _results_note(shop: Shop, place: Place, wish: Wish) -> list[str]:
    lines = [f"You are on page {place.number} of {place.pages} of the results."]
    query = _plain(place.query, NAME_WORDS)
    lines += [f"You have searched for {query}."] if query else []
    products = [shop.catalogue.products[row] for row in place.shown]
    if not products:
        return [*lines, "The search has found nothing."]
    best = max(wish.grade(product.title) for product in products)
    lines.append(f"The best title on this page has {GRADES[best]} of the words of the task.")
    for row, product in zip(place.shown, products, strict=True):
        known = "known" if row in place.seen else "new"
        lines.append(
            f"The {known} product {product.asin} is called {_name(product)}, has "
            f"{GRADES[wish.grade(product.title)]} of the words of the task and costs "
            f"{_cost(product)}{_limit_words(product, wish)}."
        )
    return lines


def _limit_words(product: Product, wish: Wish) -> str:
    fits = wish.fits(product)
    return "" if fits is None else ", within the limit" if fits else ", above the limit"


def _item_note(shop: Shop, place: Place, wish: Wish) -> list[str]:
    product = shop.product(place)
    lines = [f"You are on the page of the product {product.asin}."]
    lines += _product_lines(product, place, wish, "open")
    for name in product.options:
        lines += _option_lines(product, place, wish, name)
    for name in place.read:
        lines.append(f"You have read the {name.lower()} of the open product.")
        grade = GRADES[wish.grade(" ".join(subpage_texts(product, name)))]
        lines.append(f"Its {name.lower()} page has {grade} of the words of the task.")
    if place.page == "sub":
        said = _plain(" ".join(subpage_texts(product, place.sub)), QUOTED_WORDS)
        lines[0] = f"You are reading the {place.sub.lower()} of the product {product.asin}."
        lines += [f"The page says {said}."] if said else []
    return lines


def _product_lines(product: Product, place: Place, wish: Wish, which: str) -> list[str]:
    grade = GRADES[wish.grade(product.title)]
    lines = [
        f"The {which} product is called {_name(product)}.",
        f"The title of the {which} product has {grade} of the words of the task.",
        f"The {which} product costs {_cost(product)}.",
    ]
    fits = wish.fits(product)
    if fits is not None:
        lines.append(
            f"The price of the {which} product is {'within' if fits else 'above'} the limit."
        )
    return lines


def _option_lines(product: Product, place: Place, wish: Wish, name: str) -> list[str]:
    chosen = place.chosen.get(name)
    named = [value for value in product.options[name] if wish.names(value)]
    lines = [f"The task names the {name} {_plain(value)}." for value in named]
    if not named:
        lines.append(f"The task names no {name} of the open product.")
    if chosen is None:
        return [*lines, f"No {name} is chosen."]
    told = "named" if chosen in named else "not named"
    lines.append(f"The {name} {_plain(chosen)} is chosen.")
    return [*lines, f"The chosen {name} is {told} in the task."]


def _end_note(shop: Shop, place: Place, wish: Wish) -> list[str]:
    if place.product is None:
        return ["You have left the shop without buying."]
    product = shop.product(place)
    lines = [f"You have bought the product {product.asin}."]
    lines += _product_lines(product, place, wish, "bought")
    for name in product.options:
        value = place.chosen.get(name)
        if value is None:
            lines.append(f"No {name} was chosen.")
        else:
            told = "named" if wish.names(value) else "not named"
            lines.append(f"The {name} of the bought product is {told} in the task.")
    return lines


def _cost(product: Product) -> str:
    return " to ".join(f"{price:.2f}" for price in product.shown_prices) + " dollars"


def _name(product: Product) -> str:
    return _plain(product.title, NAME_WORDS) or product.asin


def _plain(text: str, most: int = 20) -> str:
    """The first words of a text, without signs at which a sentence could end."""
    return " ".join(_PLAIN.findall(text)[:most])


def thought(shop: Shop, place: Place, wish: Wish, action: Action | None) -> str | None:
    """The reason for an action in a sentence; None for one that is not understood here."""
    if action is None or shop.follow(place, action) is None:
        return None
    if action.verb == "search":
        return _search_thought(place, wish, " ".join(action.argument.lower().split()))
    if action.verb != "click":
        return {
            "think": "I think about the task before I go on.",
            "reset": "I go back to the search page and begin anew.",
        }.get(action.verb, "Nothing here fits the task, so I leave the shop.")
    wanted = " ".join(action.argument.lower().split())
    for text in shop.buttons(place):
        if " ".join(text.lower().split()) == wanted:
            return _click_thought(shop, place, wish, text)
    return None


def _search_thought(place: Place, wish: Wish, query: str) -> str:
    words = _plain(query, NAME_WORDS) or "signs"
    if query in place.tried:
        return f"I search for {words} once more, though I have tried it."
    grade = GRADES[wish.grade(query)]
    return f"To search for {words} uses {grade} of the words of the task, so I try it."


def _click_thought(shop: Shop, place: Place, wish: Wish, text: str) -> str:
    if place.page == "results":
        return _results_thought(shop, place, wish, text)
    if place.page == "sub":
        where = "search page" if text == BACK else "product"
        return f"I have read the {place.sub.lower()}, so I go back to the {where}."
    product = shop.product(place)
    # Of two options with one value, the later is meant: see Shop.buttons.
    owners = [name for name, values in product.options.items() if text in values]
    if owners:
        return _option_thought(wish, owners[-1], text)
    grade = GRADES[wish.grade(product.title)]
    price = _price_words(product, wish)
    about = f"The title of the open product has {grade} of the words of the task{price}"
    if text == BUY:
        return f"{about} and {_choice_words(product, place, wish)}, so I buy it."
    if text in SUBPAGES:
        return f"{about}, so I look for more in its {text.lower()}."
    where = "search page" if text == BACK else "results"
    return f"{about}, so I leave it and go back to the {where}."


def _results_thought(shop: Shop, place: Place, wish: Wish, text: str) -> str:
    products = [shop.catalogue.products[row] for row in place.shown]
    if text in (BACK, NEXT, PREVIOUS):
        best = GRADES[max((wish.grade(p.title) for p in products), default=0)]
        to = {BACK: "search anew", NEXT: "turn to the next page", PREVIOUS: "turn a page back"}
        return f"The best title on this page has {best} of the words of the task, so I {to[text]}."
    row, product = next(
        (row, p) for row, p in zip(place.shown, products, strict=True) if p.asin == text
    )
    again = "again" if row in place.seen else "closer"
    grade = GRADES[wish.grade(product.title)]
    return (
        f"The title of {product.asin} has {grade} of the words of the task"
        f"{_price_words(product, wish)}, so I look at it {again}."
    )


def _price_words(product: Product, wish: Wish) -> str:
    fits = wish.fits(product)
    if fits is None:
        return ""
    return f" and its price is {'within' if fits else 'above'} the limit"


def _option_thought(wish: Wish, name: str, value: str) -> str:
    if wish.names(value):
        return f"The task names the {name} {_plain(value)}, so I choose it."
    return f"I choose the {name} {_plain(value)}, which the task does not name."


def _choice_words(product: Product, place: Place, wish: Wish) -> str:
    """How far the options are as the task names them."""
    if not product.options:
        return "it has no options"
    missing = [name for name in product.options if name not in place.chosen]
    if missing:
        return f"no {missing[0]} is chosen"
    named = all(wish.names(value) for value in place.chosen.values())
    return f"the chosen options are {'all' if named else 'not all'} named in the task"
