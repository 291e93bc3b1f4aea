"""WebShop's human click logs: one session a file, one page a line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.base import (
    NO,
    BadRecord,
    Detection,
    Importer,
    Options,
    Sample,
    Where,
    guarded,
)
from pgv_jax.data.importers.files.records import Damage, Record, iter_records
from pgv_jax.data.importers.outcomes.outcome import Outcome, number, with_outcome
from pgv_jax.data.storage.jsonl import FieldError, kind_of, parse_json, text_field
from pgv_jax.types import Episode, Step

PAGES = ("index", "search_results", "item_page", "item_sub_page", "done")


class WebShopHuman(Importer):
    """Pages in words are the observations; the click between two pages is the action."""

    name = "webshop-human"
    about = "WebShop human click logs (page, url, goal, content; one session a file)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of records with a page, a url and a goal with instruction_text."""
        fitting = [
            r
            for r in sample.objects
            if r.get("page") in PAGES
            and isinstance(r.get("goal"), Mapping)
            and "instruction_text" in r["goal"]
        ]
        if not fitting:
            return NO
        return Detection(1.0, "the records have page, url and goal.instruction_text")

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield the one episode of a session; an unreadable line spoils it."""
        pages: list[Any] = []
        for item in iter_records(path):
            if isinstance(item, Damage):
                yield BadRecord(str(path), item.line, "json", item.why, item.raw)
                return
            pages.append(item.value)
        where = Where(path, 1, 0)
        yield from guarded(lambda: [_episode(pages, where)], Record(pages, 1), where, options)


def _episode(pages: list[Any], where: Where) -> Episode:
    for i, page in enumerate(pages):
        if not isinstance(page, Mapping):
            raise FieldError(f"line {i + 1}", f"must be an object, not {kind_of(page)}")
        if page.get("page") not in PAGES:
            raise FieldError(f"line {i + 1}.page", f"is {page.get('page')!r:.40}")
    goal = pages[0].get("goal") if pages else None
    if not isinstance(goal, Mapping):
        raise FieldError("goal", "is missing")
    task = text_field(goal.get("instruction_text"), "goal.instruction_text")
    steps: list[Step] = []
    for before, after in itertools.pairwise(pages):
        action, words = _click(before, after)
        if action:
            metadata = {"thought_from": "action", "url": after.get("url")}
            steps.append(Step(describe_page(before), words, action, metadata=metadata))
    last = pages[-1]
    done = last["page"] == "done"
    metadata = {"format": "webshop-human", "goal": dict(goal)}
    if done:
        metadata["reward_info"] = last.get("reward_info")
    episode = Episode(
        episode_id=where.path.name.split(".")[0],
        task_id=f"{goal.get('asin', '')}:{task}"[:200],
        task=task,
        steps=tuple(steps),
        final_observation="The order is placed." if done else describe_page(last),
        metadata=metadata,
    )
    return with_outcome(episode, Outcome(reward=number(last.get("reward")) if done else None))


def _content(page: Mapping[str, Any]) -> Mapping[str, Any]:
    content = page.get("content")
    return content if isinstance(content, Mapping) else {}


def _keywords(page: Mapping[str, Any]) -> str:
    found = _content(page).get("keywords", "")
    if isinstance(found, str):  # item pages hold the list as Python text
        try:
            found = parse_json(found.replace("'", '"'))
        except FieldError:
            return text_field(found, "content.keywords")
    return " ".join(map(str, found)) if isinstance(found, list) else str(found)


def _options(page: Mapping[str, Any]) -> dict[str, Any]:
    options = _content(page).get("options")
    return dict(options) if isinstance(options, Mapping) else {}


def describe_page(page: Mapping[str, Any]) -> str:
    """A page in simple sentences."""
    kind, content = page["page"], _content(page)
    if kind == "index":
        return "You are on the search page."
    if kind == "search_results":
        items = ", ".join(map(str, content.get("search_result_asins") or ()))
        return (
            f"You searched for {_keywords(page)}. This is page {content.get('page', 1)} of the "
            f"results. The products are {items}."
        )
    if kind == "done":
        return "The order is placed."
    lines = [f"You are looking at product {content.get('asin', '')}."]
    lines += [f"The chosen {name} is {value}." for name, value in _options(page).items()]
    if kind == "item_sub_page":
        lines.append(f"You are reading its {content.get('sub_page', 'details')}.")
    return " ".join(lines)


def _click(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, str]:
    """The action that leads from one page to the next, as WebShop spells it, and in words."""
    kind = after["page"]
    if kind == "done":
        return "click[Buy Now]", "Buy this product."
    if kind == "index":
        if before["page"] == "index":
            return "", ""
        return "click[Back to Search]", "Go back to the search page."
    if kind == "search_results":
        if before["page"] == "search_results":
            there, here = (number(_content(p).get("page")) or 1 for p in (after, before))
            if there != here:
                label = "Next >" if there > here else "< Prev"
                return f"click[{label}]", f"Look at page {there:.0f} of the results."
        if before["page"] in ("item_page", "item_sub_page"):
            return "click[< Prev]", "Go back to the results."
        return f"search[{_keywords(after)}]", f"Search for {_keywords(after)}."
    if kind == "item_sub_page":
        label = str(_content(after).get("sub_page", "Description"))
        return f"click[{label}]", f"Read the product's {label}."
    if before["page"] == "item_sub_page":
        return "click[< Prev]", "Go back to the product."
    chosen = {k: v for k, v in _options(after).items() if _options(before).get(k) != v}
    if before["page"] == "item_page" and chosen:
        name, value = next(iter(chosen.items()))
        return f"click[{value}]", f"Choose the {name} {value}."
    asin = _content(after).get("asin", "")
    return f"click[{asin}]", f"Look at product {asin}."
