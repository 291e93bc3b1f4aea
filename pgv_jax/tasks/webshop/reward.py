"""What a purchase is worth: WebShop's reward (Yao et al. 2022, arXiv:2207.01206, section 3 and A.5;
``web_agent_site/engine/goal.py`` of princeton-nlp/WebShop, MIT), in our own words.

With A the attributes and O the option values that the goal asks for, of a bought product:

    reward = type * (matched attributes + matched options + [price <= limit]) / (|A| + |O| + 1)

- An *attribute* matches if ``token_set_ratio`` with one of the product's attributes is above 85,
  or if it stands, in lower case, in the title, the features or the description.
- A *chosen option* matches if it equals a wanted value (option "size") or its ``token_set_ratio``
  with one is above 85 (all others), both reduced to the first colour word that they contain; or
  if it stands in the title, the features or the description.
- *type* compares the products: 1, but .5 where neither the query, nor two parts of the category
  path, nor more than a fifth of the goal title's nouns agree; .1 where fewer than a tenth of the
  nouns agree, 0 where none does (these two overrule).

More options can be chosen and match than the goal names; the published reward then passes 1. Here
it ends at 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pgv_jax.errors import PgvError
from pgv_jax.parts import part
from pgv_jax.tasks.webshop.catalogue import Product

with part("tasks", "The task webshop"):
    from rapidfuzz import fuzz, utils

Nouns = Callable[[str], list[str]]
"""The nouns of a title, in lower case, with repetitions."""

THRESHOLD = 85
_COLOR_WORDS = (
    "alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown "
    "burgundy camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee "
    "cognac copper coral cranberry cream crystal dark denim eggplant elephant espresso fuchsia "
    "gold granite grape graphite grass gray green grey heather indigo ivory ivy khaki lavender "
    "lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor "
    "mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red "
    "rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan "
    "taupe teal tiger turquoise violet walnut wheat white wine yellow"
)
COLORS = tuple(_COLOR_WORDS.split())
"""The colour words of the formula, in its order: the first that a value contains stands for it."""

_FUNCTION_WORDS = (
    "a an the and or nor but so yet for with without of in on at to by from up off over under into "
    "onto as than per via is are be was it its this that these those your you our we my i me he "
    "she his her their them they not no all any both each every more most very also only can will "
    "has have do does made make fits fit use using"
)
_CLOSED = frozenset(_FUNCTION_WORDS.split())
_WORD = re.compile(r"[^\W_]+(?:['.-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a goal asks for, and the product that it was made from."""

    product: Product
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    price_limit: float


@dataclass(frozen=True, slots=True)
class Reward:
    """The reward and its parts; ``options`` is None where the goal names none."""

    total: float
    type: float
    attributes: float
    options: float | None
    price: bool
    query_match: bool
    category_match: bool
    title_score: float


def title_nouns(title: str) -> list[str]:
    """The words of a title that spaCy's tagger would mostly call nouns.

    WebShop tags titles with spaCy's ``en_core_web_lg`` (560 MB). Titles are strings of capitalised
    names and things, so here every word with a letter is one, but for function words. Pass
    ``spacy_nouns()`` to get the published score.
    """
    words = [word.lower() for word in _WORD.findall(title)]
    return [word for word in words if word not in _CLOSED and not word.replace(".", "").isdigit()]


def spacy_nouns(model: str = "en_core_web_lg") -> Nouns:
    """Nouns as WebShop finds them; needs spaCy and its model, which pgv_jax does not install."""
    try:
        import spacy
    except ImportError:
        raise PgvError(
            "The published noun matching needs spaCy: pip install spacy, then "
            f"python -m spacy download {model}."
        ) from None
    try:
        tag = spacy.load(model)
    except OSError:
        raise PgvError(
            f"spaCy's model {model} is missing: python -m spacy download {model}."
        ) from None
    kinds = ("PNOUN", "NOUN", "PROPN")
    return lru_cache(1 << 16)(
        lambda title: [token.text.lower() for token in tag(title) if token.pos_ in kinds]
    )


def reward(
    bought: Product, wanted: Wanted, chosen: Mapping[str, str], nouns: Nouns = title_nouns
) -> Reward:
    """The reward of buying ``bought`` with the options ``chosen`` (name -> value)."""
    query = bought.query == wanted.product.query
    category = len(_path(bought) & _path(wanted.product)) >= 2
    title = title_score(bought.title, wanted.product.title, nouns)
    kind = _type(query or category, title)
    attributes = sum(_has_attribute(bought, attribute) for attribute in wanted.attributes)
    options = _matched_options(bought, wanted.options, chosen)
    price = bought.price <= wanted.price_limit
    parts = len(wanted.attributes) + len(wanted.options) + 1
    return Reward(
        total=min(1.0, kind * (attributes + options + price) / parts),
        type=kind,
        attributes=attributes / len(wanted.attributes) if wanted.attributes else 1.0,
        options=options / len(wanted.options) if wanted.options else None,
        price=price,
        query_match=query,
        category_match=category,
        title_score=title,
    )


def title_score(bought: str, wanted: str, nouns: Nouns = title_nouns) -> float:
    """Distinct nouns in both titles / nouns of the wanted one (repetitions count); .2 for none."""
    goal = nouns(wanted)
    return len(set(nouns(bought)) & set(goal)) / len(goal) if goal else 0.2


def _type(same: bool, title: float) -> float:
    if title == 0.0:
        return 0.0
    if title < 0.1:
        return 0.1
    return 1.0 if same or title > 0.2 else 0.5


def _path(product: Product) -> set[str]:
    return {part.strip() for part in product.product_category.split("\u203a")}


def _has_attribute(product: Product, attribute: str) -> bool:
    return similar_to_any(attribute, product.attributes) or _stands_in(product, attribute)


def _matched_options(product: Product, wanted: Iterable[str], chosen: Mapping[str, str]) -> int:
    values = [normalized_color(value) for value in wanted]
    matched = 0
    for name, value in chosen.items():
        value = normalized_color(value)
        exact = name.lower() == "size"
        found = value in values if exact else similar_to_any(value, values)
        matched += found or _stands_in(product, value)
    return matched


def option_matches(name: str, value: str, wanted: Iterable[str]) -> bool:
    """Whether a chosen option counts as one of the wanted values (not: as a word of the title)."""
    value, values = normalized_color(value), [normalized_color(other) for other in wanted]
    return value in values if name.lower() == "size" else similar_to_any(value, values)


def normalized_color(value: str) -> str:
    """The first word of ``COLORS`` within the value, or the value itself."""
    return next((color for color in COLORS if color in value), value)


def similar_to_any(text: str, others: Iterable[str]) -> bool:
    """Whether ``token_set_ratio`` with one of the others, rounded, is above 85."""
    return any(similarity(other, text) > THRESHOLD for other in others)


@lru_cache(1 << 18)
def similarity(first: str, second: str) -> int:
    """thefuzz's ``token_set_ratio``, 0 to 100: lower case, words only, Latin-1 to ASCII."""
    plain = [
        utils.default_process("".join(c for c in text if not 128 <= ord(c) < 256))
        for text in (first, second)
    ]
    return round(fuzz.token_set_ratio(*plain))


def _stands_in(product: Product, words: str) -> bool:
    texts = (product.title, " ".join(product.features), product.description)
    return any(words in text.lower() for text in texts)
