"""The shop's products: read from WebShop's own files, or a small catalogue of our own making.

WebShop's files (Yao et al. 2022, arXiv:2207.01206; repository princeton-nlp/WebShop) are read by
path and never shipped: the products as a JSON list (``items_shuffle*.json``) or as JSON lines
(``products*.jsonl``, also ``.gz``), the attributes and synthetic instructions
(``items_ins_v2*.json``), human instructions (``items_human_ins.json``) and reviews
(``reviews*.json``). Fields are read as WebShop's engine reads them.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import IO, Any

from pgv_jax.errors import PgvError

PRODUCT_FILES = ("items_shuffle*.json", "products*.jsonl.gz", "products*.jsonl")
OTHER_FILES = ("items_ins_v2*.json", "items_human_ins*.json", "reviews*.json")
NO_PRICE = 100.0
"""Dollars of a product without a price, as in WebShop."""
PER_FAMILY = 8
"""Products that our own catalogue has of each family."""


@dataclass(frozen=True, slots=True)
class Review:
    """One review of a product."""

    title: str
    score: str
    body: str


@dataclass(frozen=True, slots=True)
class Product:
    """What the shop knows of a product. ``price`` is what it costs, ``price_tag`` what is shown.

    ``query`` and the categories decide whether two products are of one type; ``attributes`` are
    annotations that only the reward (and the page "Attributes") reads.
    """

    asin: str
    title: str
    category: str = ""
    query: str = ""
    product_category: str = ""
    description: str = ""
    features: tuple[str, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    price: float = NO_PRICE
    price_tag: str = f"${NO_PRICE}"
    rating: str = "N.A."
    reviews: tuple[Review, ...] = ()
    instruction: str = ""
    instruction_attributes: tuple[str, ...] = ()

    @property
    def shown_prices(self) -> tuple[float, ...]:
        """The price that is shown, or the lowest and the highest of a range."""
        shown = tuple(float(number) for number in re.findall(r"\d+(?:\.\d+)?", self.price_tag))
        return shown or (self.price,)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All products; ``human`` maps a product's id to the instructions that people wrote for it."""

    products: tuple[Product, ...]
    source: str
    human: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)

    def document(self, row: int) -> str:
        """What the search engine reads of a product: title, description, first feature, options."""
        product = self.products[row]
        options = ", and ".join(f"{k}: {', '.join(v)}" for k, v in product.options.items())
        first = product.features[0] if product.features else ""
        return " ".join((product.title, product.description, first, options)).lower()


def load_catalogue(data: Path | str | None = None) -> Catalogue:
    """Read a folder with WebShop's files, or one file of products with the others beside it.

    None gives our own small catalogue.
    """
    if data is None:
        return small_catalogue()
    path = Path(data)
    products_path = path if path.is_file() else _only(path, PRODUCT_FILES)
    if products_path is None:
        raise PgvError(
            f"{path} holds no products; a file like {' or '.join(PRODUCT_FILES)} is needed."
        )
    extra = {pattern: _beside(products_path, pattern) for pattern in OTHER_FILES}
    attributes, human, reviews = (_read(p) if p else {} for p in extra.values())
    reviewed = {str(entry["asin"]): entry for entry in reviews or ()}
    products: dict[str, Product] = {}
    try:
        for record in _records(products_path):
            asin = str(record["asin"])
            if asin != "nan" and len(asin) <= 10 and asin not in products:
                products[asin] = _product(record, attributes.get(asin), reviewed.get(asin, {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PgvError(
            f"{products_path} holds something that is no product of WebShop "
            f"({type(error).__name__}: {error})."
        ) from None
    if not products:
        raise PgvError(f"{products_path} holds no products.")
    said = {asin: tuple(human[asin]) for asin in products if asin in human}
    return Catalogue(tuple(products.values()), str(products_path), said)


def small_catalogue() -> Catalogue:
    """160 invented products of 20 families, for tests and trials; the same ones each time."""
    text = files("pgv_jax.tasks.webshop").joinpath("data/families.json").read_text("utf-8")
    about = json.loads(text)
    products = [
        _invent(family, number, index, about["brands"])
        for number, family in enumerate(about["families"])
        for index in range(PER_FAMILY)
    ]
    random.Random("webshop").shuffle(products)
    return Catalogue(tuple(products), "invented products")


def _invent(family: Mapping[str, Any], number: int, index: int, brands: list[str]) -> Product:
    rng = random.Random(f"webshop/{family['kind']}/{index}")
    attributes = sorted(rng.sample(family["attributes"], rng.randint(2, 3)))
    shown, hidden = attributes[:-1], attributes[-1]
    options = {
        name: tuple(v for v in values if rng.random() < 0.8) or tuple(values[:1])
        for name, values in family["options"].items()
    }
    low, high = family["price"]
    price = round(rng.uniform(low, high), 2)
    title = f"{rng.choice(brands)} {family['kind']}, {', '.join(shown).title()}"
    features = (*rng.sample(family["features"], 2), f"{hidden.capitalize()} model")
    wanted = sorted(rng.sample(attributes, 2))
    return Product(
        asin=f"B0{number:02}{index:02}{rng.randrange(36**3):04X}"[:10].ljust(10, "0"),
        title=title,
        category=family["category"],
        query=family["query"],
        product_category=family["product_category"],
        description=f"A {family['kind'].lower()} from our workshop: {' and '.join(attributes)}.",
        features=features,
        options=options,
        attributes=tuple(attributes),
        price=price,
        price_tag=f"${price}",
        rating=str(round(rng.uniform(3, 5), 1)),
        reviews=(Review("As expected", str(rng.randint(3, 5)), "It came on time and it works."),),
        instruction=f"Find me {', '.join(wanted)} {family['query']}",
        instruction_attributes=tuple(wanted),
    )


def _only(folder: Path, patterns: tuple[str, ...]) -> Path | None:
    found = sorted(chain.from_iterable(folder.glob(pattern) for pattern in patterns))
    if len(found) > 1:
        raise PgvError(
            f"{folder} holds several files of products ({', '.join(p.name for p in found)}); "
            "name one of them."
        )
    return found[0] if found else None


def _beside(products: Path, pattern: str) -> Path | None:
    """The companion of a file of products: of the same size (``_1000``) where there are several."""
    found = sorted(products.parent.glob(pattern))
    size = re.search(r"_\d+", products.name)
    same = [p for p in found if (size.group() in p.name if size else not re.search(r"_\d", p.stem))]
    return next(iter(same or found), None)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PgvError(f"{path} cannot be read as JSON: {error}.") from None


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".json":
        yield from _read(path)
        return
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip():
                    yield json.loads(line)
            except ValueError as error:
                raise PgvError(f"{path}:{number}: not JSON ({error}).") from None


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _product(
    record: Mapping[str, Any], annotated: Mapping[str, Any] | None, reviewed: Mapping[str, Any]
) -> Product:
    asin, annotated = str(record["asin"]), annotated or {}
    price, price_tag = _price(record.get("pricing"), asin)
    features = record.get("BulletPoints", record.get("small_description")) or ()
    reviews = record.get("Reviews") or reviewed.get("reviews") or ()
    attributes = annotated.get("attributes", record.get("Attributes"))
    return Product(
        asin=asin,
        title=str(record.get("Title") or record["name"]),
        category=str(record["category"]),
        query=str(record["query"]).lower().strip(),
        product_category=str(record["product_category"]),
        description=str(record.get("Description") or record.get("full_description") or ""),
        features=(features,) if isinstance(features, str) else tuple(map(str, features)),
        options=_options(record),
        attributes=tuple(attributes if attributes is not None else ("DUMMY_ATTR",)),
        price=price,
        price_tag=str(record.get("Price") or price_tag),
        rating=str(reviewed.get("average_rating") or record.get("Rating") or "N.A."),
        reviews=tuple(_review(review) for review in reviews),
        instruction=str(annotated.get("instruction") or ""),
        instruction_attributes=tuple(annotated.get("instruction_attributes") or ()),
    )


def _price(pricing: Any, asin: str) -> tuple[float, str]:
    """Dollars and their tag. Of a range, a price is drawn, as WebShop does: here by the id."""
    if isinstance(pricing, str):
        pricing = [float(re.sub(r"[^\d.]", "", part)) for part in pricing.split("$")[1:]]
    prices = [float(price) for price in pricing or (NO_PRICE,)][:2]
    if len(prices) == 1:
        return prices[0], f"${prices[0]}"
    return random.Random(f"price/{asin}").uniform(*prices), f"${prices[0]} to ${prices[1]}"


def _options(record: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    if "options" in record:
        return {str(k).lower(): tuple(map(str, v)) for k, v in record["options"].items() if v}
    options = {}
    for name, contents in (record.get("customization_options") or {}).items():
        if contents:
            values = (c["value"].strip().replace("/", " | ").lower() for c in contents)
            options[name.lower()] = tuple(values)
    return options


def _review(review: Mapping[str, Any]) -> Review:
    score = review.get("score", review.get("stars", ""))
    return Review(
        str(review.get("title", "")), str(score), str(review.get("body", review.get("review", "")))
    )
