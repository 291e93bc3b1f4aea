"""The pages as WebShop shows them to language models: every text, joined by " [SEP] ".

The page after a purchase is cut short: WebShop's names the score, which would put the outcome into
an observation.
"""

from __future__ import annotations

from pgv_jax.tasks.webshop.catalogue import Product
from pgv_jax.tasks.webshop.pages import BACK, BUY, NEXT, PREVIOUS, SUBPAGES, Place, Shop

SEPARATOR = " [SEP] "


def page_text(shop: Shop, place: Place, instruction: str) -> str:
    """The observation of WebShop's mode "text"."""
    return SEPARATOR.join(" ".join(part.split()) for part in _parts(shop, place, instruction))


def _parts(shop: Shop, place: Place, instruction: str) -> list[str]:
    if place.page == "end":
        bought = place.product is not None
        return ["Thank you for shopping with us!" if bought else "You have left the shop."]
    if place.page == "search":
        return ["WebShop", "Instruction:", instruction, "Search"]
    parts = ["Instruction:", instruction, BACK]
    if place.page == "results":
        parts.append(f"Page {place.number} (Total results: {len(place.hits)})")
        parts += [PREVIOUS] if place.number > 1 else []
        parts += [NEXT] if place.number < place.pages else []
        for row in place.shown:
            product = shop.catalogue.products[row]
            parts += [product.asin, product.title, product.price_tag]
        return parts
    product = shop.product(place)
    if place.page == "sub":
        return [*parts, PREVIOUS, *subpage_texts(product, place.sub)]
    parts.append(PREVIOUS)
    for name, values in product.options.items():
        parts += [name, *values]
    parts += [product.title, f"Price: {product.price_tag}", f"Rating: {product.rating}"]
    subpages = SUBPAGES if shop.show_attributes else SUBPAGES[:-1]
    return [*parts, *subpages, BUY]


def subpage_texts(product: Product, name: str) -> list[str]:
    """What a page about a product says."""
    if name == "Description":
        return [product.description or "No Description"]
    if name == "Features":
        return list(product.features) or ["No Features"]
    if name == "Attributes":
        types = (product.category, product.query, product.product_category)
        return [*product.attributes, *types]
    texts = [part for r in product.reviews for part in (f'"{r.title}"', r.score, r.body)]
    return texts or ["No reviews found"]
