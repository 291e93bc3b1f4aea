"""WebShop (Yao et al. 2022, arXiv:2207.01206): find a product that fits an instruction, and buy it.

The text environment in our own words and without its web server, Lucene and spaCy: the same
actions, pages, reward and goals, read from WebShop's own files (``data``), or on a small catalogue
of invented products. What differs is listed in docs/tasks.md.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import NOT_UNDERSTOOD, TextEnv, spaces
from pgv_jax.tasks.webshop.catalogue import Catalogue, load_catalogue
from pgv_jax.tasks.webshop.expert import Errand, distance, errand_for
from pgv_jax.tasks.webshop.instructions import Goal, make_goals
from pgv_jax.tasks.webshop.page_text import SEPARATOR, page_text, subpage_texts
from pgv_jax.tasks.webshop.pages import SUBPAGES, Place, Shop, parse_action
from pgv_jax.tasks.webshop.reward import Nouns, Reward, reward, spacy_nouns, title_nouns
from pgv_jax.tasks.webshop.search_engine import SearchEngine
from pgv_jax.tasks.webshop.words import note, read_wish, suggested_queries, thought

OBSERVATIONS = ("text", "note")
LONGEST = 20_000
"""Characters of an observation at most."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """All that a step changes; also what a snapshot holds."""

    goal: Goal
    place: Place
    steps: int = 0
    misunderstood: bool = False
    truncated: bool = False


class WebShopEnv(TextEnv):
    """The shop; see ``pgv_jax.tasks.base`` for the conventions.

    ``data`` is a folder (or a file of products) of WebShop; without it, invented products are sold.
    ``goals`` is "synthetic" or "human". ``observation`` "text" is WebShop's own ("[SEP]" between
    the texts of a page), "note" a progress note of sentences, for critics whose goals are
    sentences. Buying terminates, with the reward; the step limit truncates (0: none). On the search
    page a few searches of the task's own words are offered; any other is understood as well.
    ``nouns="spacy"`` matches titles as published, where spaCy and its model are installed.
    ``reasons=False`` gives thoughts that say what is done and not why.
    """

    name: ClassVar[str] = "webshop"

    def __init__(
        self,
        data: Path | str | None = None,
        goals: str = "synthetic",
        observation: str = "text",
        max_steps: int = 15,
        combinations: int = 1,
        show_attributes: bool = False,
        nouns: str = "words",
        reasons: bool = True,
        shop: Shop | None = None,
    ):
        super().__init__()
        if observation not in OBSERVATIONS:
            raise PgvError(
                f"Observation '{observation}' is unknown; use one of: {', '.join(OBSERVATIONS)}."
            )
        if nouns not in ("words", "spacy"):
            raise PgvError(f"Nouns '{nouns}' are unknown; use one of: words, spacy.")
        self.shop = shop or open_shop(load_catalogue(data), show_attributes)
        self.observation = observation
        self.max_steps = max_steps
        self.reasons = reasons
        self._nouns: Nouns = spacy_nouns() if nouns == "spacy" else title_nouns
        self._splits = make_goals(self.shop.catalogue, goals, combinations)
        self._goals = {goal.goal_id: goal for part in self._splits.values() for goal in part}
        self._errands: dict[str, Errand | None] = {}
        self._moment: _Moment | None = None
        letters = frozenset(string.printable).union(
            *(goal.instruction for goal in self._goals.values()),
            *(_letters(self.shop.catalogue)),
        )
        self.observation_space = spaces.Text(LONGEST, min_length=0, charset=letters)

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of the goals of one split, or of both."""
        if split is not None and split not in self._splits:
            raise PgvError(f"Split '{split}' has no goals; use 'train' or 'test'.")
        parts = self._splits.values() if split is None else (self._splits[split],)
        return tuple(goal.goal_id for part in parts for goal in part)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Go shopping for a goal: ``options={"task": ID}``; without an id the seed draws one."""
        super().reset(seed=seed)
        self._moment = _Moment(self._goals[self._choose_task(options)], Place())
        return self._observe(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Search, click, think or leave; the reward, in [0, 1], comes with the purchase."""
        moment = self._here()
        if moment.place.page == "end" or moment.truncated:
            raise PgvError("This episode is over; call reset before the next step.")
        place = self.shop.follow(moment.place, parse_action(action))
        steps, ended = moment.steps + 1, place is not None and place.page == "end"
        self._moment = replace(
            moment,
            place=place or moment.place,
            steps=steps,
            misunderstood=place is None,
            truncated=not ended and 0 < self.max_steps <= steps,
        )
        info = self._info()
        return self._observe(), info["score"], ended, self._moment.truncated, info

    def purchase(self) -> Reward | None:
        """The parts of the reward, once something was bought."""
        moment = self._here()
        if moment.place.page != "end" or moment.place.product is None:
            return None
        bought = self.shop.product(moment.place)
        return reward(bought, moment.goal.wanted, moment.place.chosen, self._nouns)

    @property
    def place(self) -> Place:
        """The page that is open, and what was done on the way."""
        return self._here().place

    @property
    def goal(self) -> Goal:
        """What is to be bought."""
        return self._here().goal

    def admissible_actions(self) -> list[str]:
        """The suggested searches, or what can be clicked, sorted; none at the end."""
        moment = self._here()
        if moment.place.page == "search":
            queries = suggested_queries(read_wish(moment.goal.instruction))
            return sorted(f"search[{query}]" for query in queries)
        return sorted({f"click[{text}]" for text in self.shop.buttons(moment.place)})

    def thought_for(self, action: str) -> str:
        """The reason for ``action`` in a sentence, from what the page shows and the task says."""
        moment = self._here()
        if not self.reasons:
            return f"I should {action}."
        wish = read_wish(moment.goal.instruction)
        said = thought(self.shop, moment.place, wish, parse_action(action))
        return said or f"I try to {' '.join(action.split())[:200]}."

    def distance(self) -> int | None:
        """The least number of actions to the best purchase; None where there is none."""
        return self._distance(self._here().place)

    def correct(self, action: str) -> bool | None:
        """Whether ``action`` is one of a shortest way to the best purchase."""
        now, later = self.distance(), self._after(action)
        return now is not None and later is not None and later < now

    def expert_action(self) -> str | None:
        """An offered action on a shortest way to the best purchase."""
        now = self.distance()
        if now is None:
            return None
        return next((a for a in self._by_hope() if self._after(a) == now - 1), None)

    def preferences(self, actions: Sequence[str]) -> list[float]:
        """1 / (1 + actions that are left after it); 0 for another purchase."""
        left = [self._after(action) for action in actions]
        return [0.0 if after is None else 1.0 / (1.0 + after) for after in left]

    def snapshot(self) -> Any:
        """The present moment, which never changes."""
        return self._here()

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of this environment."""
        self._moment = snapshot

    def _by_hope(self) -> list[str]:
        """The offered actions; searches in the order of their suggestion, for they cost most."""
        moment = self._here()
        if moment.place.page == "search":
            queries = suggested_queries(read_wish(moment.goal.instruction))
            return [f"search[{query}]" for query in queries]
        return self.admissible_actions()

    def _here(self) -> _Moment:
        if self._moment is None:
            raise PgvError("No goal has been chosen; call reset first.")
        return self._moment

    def _errand(self) -> Errand | None:
        goal = self._here().goal
        if goal.goal_id not in self._errands:
            queries = suggested_queries(read_wish(goal.instruction))
            self._errands[goal.goal_id] = errand_for(self.shop, goal, queries, self._nouns)
        return self._errands[goal.goal_id]

    def _distance(self, place: Place) -> int | None:
        errand = self._errand()
        return None if errand is None else distance(self.shop, errand, place)

    def _after(self, action: str) -> int | None:
        """The distance after an action; one that is not understood changes nothing."""
        place = self._here().place
        return self._distance(self.shop.follow(place, parse_action(action)) or place)

    def _observe(self) -> str:
        moment = self._here()
        if self.observation == "note":
            text = note(self.shop, moment.place, read_wish(moment.goal.instruction))
        else:
            text = page_text(self.shop, moment.place, moment.goal.instruction)
        if not moment.misunderstood:
            return text[:LONGEST]
        separator = " " if self.observation == "note" else SEPARATOR
        return text[: LONGEST - 100] + separator + NOT_UNDERSTOOD

    def _info(self) -> dict[str, Any]:
        moment, bought = self._here(), self.purchase()
        score = bought.total if bought else 0.0
        return {
            "task_id": moment.goal.goal_id,
            "task": moment.goal.instruction,
            "admissible_actions": self.admissible_actions(),
            "success": score == 1.0,
            "score": score,
        }


def open_shop(catalogue: Catalogue, show_attributes: bool = False) -> Shop:
    """Index a catalogue (.1 s for 1,000 products)."""
    documents = (catalogue.document(row) for row in range(len(catalogue.products)))
    return Shop(catalogue, SearchEngine(documents), show_attributes)


def _letters(catalogue: Catalogue) -> Iterator[str]:
    """Every text that a page can show of a product, for the letters in it."""
    for product in catalogue.products:
        yield product.title
        for name, values in product.options.items():
            yield from (name, *values)
        for name in SUBPAGES:
            yield from subpage_texts(product, name)
