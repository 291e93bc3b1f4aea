"""Refinement on a corridor: cells 0 .. 8, success at 8, disaster at 0, one step left or right."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from pgv_jax.agents.agent import Agent, View
from pgv_jax.agents.imagined_goals import SentenceIndex
from pgv_jax.agents.refine import Refinement, RefineOptions, Refiner
from pgv_jax.agents.strategies import STRATEGIES, GuidedAgent, strategy
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import ClientError, Completion, Request, ScriptedClient
from pgv_jax.types import Candidate

NEARER, FARTHER = "You are in cell 5.", "You are in cell 3."
MOVES = {"go left": -1, "go right": 1}
LEFT = Candidate("I go left.", "go left")


def cell_of(text: str) -> int:
    return int(text.split("are in cell ")[1].split(".")[0])


def scorer(task: str, observation: str, thoughts: list[str], goals: list[str]) -> np.ndarray:
    """The exact Q: 0.9^(steps from the cell after the thought to the goal's cell)."""
    cell = cell_of(observation)
    after = [cell + (1 if "right" in thought else -1) for thought in thoughts]
    wanted = [8 if goal == "The task is done." else cell_of(goal) for goal in goals]
    return np.array([[0.9 ** abs(a - g) for g in wanted] for a in after])


def listener(request: Request, index: int) -> str:
    """Proposes at random; rewrites where the bad outcome is said to be likelier than the good."""
    system, user = (m["content"] for m in request.messages[:2])
    chance = random.Random(f"{request.seed}/{index}")
    if "imagining" in system:
        cell = cell_of(user)
        nearer, farther = (f"You are in cell {cell + d}." for d in (1, -1))
        return json.dumps({"positive": [nearer], "negative": [farther]})
    if "estimate how likely" in system:
        return json.dumps({"probabilities": [chance.random(), chance.random()]})
    if "improve a plan" in system:
        lines = user.splitlines()
        thought = next(line for line in lines if line.startswith("The plan: "))[10:]
        other = "I go right." if "left" in thought else "I go left."
        numbers = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("- ")][2:]
        numbers = [n for n in numbers if n.replace(".", "", 1).isdigit() and n[-1] != "."]
        if len(numbers) == 2 and float(numbers[0]) < float(numbers[1]):
            return json.dumps({"decision": "rewrite", "thought": other})
        return json.dumps({"decision": "keep", "thought": thought})
    if "turn a plan" in system:
        return "Action: GO RIGHT" if "right" in user.split("The plan:")[1] else "Action: go left"
    move = chance.choice(["left", "right"])
    return f"Thought: I go {move}.\nAction: go {move}"


def view(cell: int = 4, seed: int = 0) -> View:
    note = f"You are in cell {cell}."
    return View("Reach cell 8.", note, note, tuple(MOVES), (), seed)


def refine(
    policy: Callable[[Request, int], str] = listener,
    candidate: Candidate = LEFT,
    index: SentenceIndex | None = None,
    **options: object,
) -> tuple[Refinement, Counter[str]]:
    refiner = Refiner(
        ScriptedClient(policy),
        scorer,
        RefineOptions(goals=1, **options),
        index=index,
    )
    return asyncio.run(refiner.refine(view(), candidate)), refiner.counts


def play(name: str, episode: int, **options: object) -> bool:
    """Whether the end is reached before the start, within 30 steps."""
    client, wanted = ScriptedClient(listener), strategy(name)
    agent = Agent(
        client, wanted.selector, scorer, candidates=4 if wanted.several else 1, repeat_penalty=1.0
    )
    guided = GuidedAgent(
        agent,
        Refiner(client, scorer, RefineOptions(goals=1, **options)),
    )
    cell = 4

    async def episode_() -> bool:
        nonlocal cell
        for step in range(30):
            now = view(cell, 1000 * episode + step)
            decision = await (guided if wanted.refined else agent).decide(now)
            cell += MOVES[decision.chosen.action]
            if cell in (0, 8):
                break
        return cell == 8

    return asyncio.run(episode_())


def wins(name: str, **options: object) -> int:
    return sum(play(name, episode, **options) for episode in range(24))


def test_refining_with_the_critic_beats_no_critic_and_every_control() -> None:
    assert wins("refine") == wins("propose-and-refine") == wins("best-of-n") == 24
    others = {name: wins("refine", scores=name) for name in ("shuffled", "constant", "guess")}
    others["permuted"] = wins("refine", scores="permuted")
    others |= {"react": wins("react"), "none": wins("refine", scores="none")}
    assert all(count <= 18 for count in others.values()), others
    assert others["constant"] == others["none"] == others["react"]


def test_a_bad_thought_is_rewritten_and_a_good_one_kept() -> None:
    rewritten, counts = refine()
    assert rewritten.outcome == "rewritten" and counts["rewritten"] == 1
    assert rewritten.candidate.action == "go right"  # in the spelling of the list
    assert [r.kept for r in rewritten.rounds] == [False, True]
    assert rewritten.rounds[0].scores == pytest.approx((0.9**2, 1.0))
    assert rewritten.candidate.scores == pytest.approx({NEARER: 1.0, FARTHER: 0.9**2})
    right = Candidate("I go right.", "go right")
    kept, _ = refine(candidate=right)
    assert kept.outcome == "kept" and kept.candidate is right and len(kept.rounds) == 1


def test_earlier_plans_stay_in_sight_and_can_be_gone_back_to() -> None:
    seen: list[str] = []

    def wavering(request: Request, index: int) -> str:
        system, user = (m["content"] for m in request.messages)
        if "improve a plan" not in system:
            return listener(request, index)
        seen.append(user)
        other = "I go left." if "The plan: I go right." in user else "I go right."
        return json.dumps({"decision": "rewrite", "thought": other})

    back, _ = refine(wavering)
    assert "No other plan" in seen[0] and "An earlier plan" not in seen[0]
    assert f"An earlier plan: I go left.\n{back.rounds[0].shown}" in seen[1]
    assert (back.outcome, back.candidate) == ("kept", LEFT)
    assert [r.thought for r in back.rounds] == ["I go left.", "I go right."]


def test_rounds_are_bounded() -> None:
    def restless(request: Request, index: int) -> str:
        if "improve a plan" in request.messages[0]["content"]:
            return json.dumps({"decision": "rewrite", "thought": f"I go right {request.seed}."})
        return listener(request, index)

    for rounds in (1, 2, 3):
        refined, _ = refine(restless, rounds=rounds)
        assert len(refined.rounds) == rounds and refined.outcome == "rewritten"
        assert len(refined.completions) == 2 * rounds + 1  # goals, refine; at last the action


def test_first_goals_can_be_scored_again() -> None:
    asked: list[str] = []

    def policy(request: Request, index: int) -> str:
        asked.append(request.messages[0]["content"][:30])
        return listener(request, index)

    refined, _ = refine(policy, fresh_goals=False)
    assert len(refined.rounds) == 2 and sum("imagining" in a for a in asked) == 1
    assert refined.rounds[0].goals is refined.rounds[1].goals


def test_shuffled_numbers_are_those_of_any_thought_looked_at() -> None:
    plans = [LEFT.thought, *(f"I go right {i}." for i in range(1, 9))]

    def policy(request: Request, index: int) -> str:
        system, user = (m["content"] for m in request.messages)
        if "imagining" in system:
            return json.dumps({"positive": [NEARER], "negative": [FARTHER]})
        if "improve a plan" in system:
            present = next(line for line in user.splitlines() if line.startswith("The plan: "))[10:]
            return json.dumps({"decision": "rewrite", "thought": plans[plans.index(present) + 1]})
        return "Action: go right"

    def numbered(task: str, seen: str, thoughts: list[str], goals: list[str]) -> np.ndarray:
        return np.full((1, len(goals)), 0.01 * plans.index(thoughts[0]))

    options = RefineOptions(goals=1, rounds=8, scores="shuffled")
    refiner = Refiner(ScriptedClient(policy), numbered, options)
    told = asyncio.run(refiner.refine(view(), LEFT)).rounds
    assert list(refiner.met) == [each.thought for each in told] == plans[:8]
    assert told[0].scores == (0.5, 0.5)  # there is no other thought yet
    whose = [round(100 * each.scores[0]) for each in told[1:]]
    assert all(other <= number for number, other in enumerate(whose, 1))
    assert whose != list(range(1, 8))
    again = Refiner(ScriptedClient(policy), numbered, options)
    assert asyncio.run(again.refine(view(), LEFT)).rounds == told


def test_calibrated_numbers_are_likelihoods_of_the_goals_they_stand_beside() -> None:
    def likelihoods(score_G: np.ndarray, goals: list[str]) -> np.ndarray:
        return np.where([goal == NEARER for goal in goals], score_G / 2, 0.25)

    options = RefineOptions(goals=1, numbers="calibrated")
    refiner = Refiner(ScriptedClient(listener), scorer, options, likelihoods=likelihoods)
    first = asyncio.run(refiner.refine(view(), LEFT)).rounds[0]
    assert first.shown.splitlines() == [
        f'- Good outcome: "{NEARER}" {100 * 0.9**2 / 2:.0f} %',
        f'- Bad outcome: "{FARTHER}" 25 %',
    ]


def test_a_scalar_critic_shows_one_number_and_asks_for_no_goals() -> None:
    asked: list[str] = []

    def policy(request: Request, index: int) -> str:
        asked.append("\n".join(m["content"] for m in request.messages))
        return '{"decision": "keep"}'

    refined, _ = refine(policy, scores="scalar")
    assert len(asked) == 1 and f"- The task will succeed: {0.9**5:.2f}" in asked[0]
    assert refined.rounds[0].to_json()["score"] == pytest.approx(0.9**5)


def test_grounded_goals_are_what_the_critic_is_asked() -> None:
    def paraphrasing(request: Request, index: int) -> str:
        if "imagining" in request.messages[0]["content"]:
            return '{"positive": ["You stand in cell 5."], "negative": ["You fall to cell 3."]}'
        return listener(request, index)

    words = ["5", "3"]
    index = SentenceIndex(
        [NEARER, FARTHER], lambda texts: np.array([[w in t for w in words] for t in texts])
    )
    refined, _ = refine(paraphrasing, index=index, grounding="snap")
    first = refined.rounds[0]
    assert [(g.text, g.asked) for g in first.goals] == [
        (NEARER, "You stand in cell 5."),
        (FARTHER, "You fall to cell 3."),
    ]
    assert NEARER in first.shown and refined.to_json()["rounds"][0]["goals"][0]["similarity"] == 1.0


@pytest.mark.parametrize(
    ("silent", "reason"),
    [
        ("imagining", "malformed_goals"),
        ("improve a plan", "malformed_refine"),
        ("turn a plan", "malformed_refine_act"),
    ],
)
def test_malformed_answers_fall_back_to_the_unrefined_thought(silent: str, reason: str) -> None:
    def policy(request: Request, index: int) -> str:
        return "Hm." if silent in request.messages[0]["content"] else listener(request, index)

    refined, counts = refine(policy)
    assert (refined.outcome, refined.reason) == ("fallback", reason)
    assert refined.candidate is LEFT
    assert counts["fallback"] == counts[f"fallback_{reason}"] == 1
    assert refined.malformed == counts["malformed"] == 2


def test_one_malformed_answer_is_forgiven_and_counted() -> None:
    def policy(request: Request, index: int) -> str:
        goals = "imagining" in request.messages[0]["content"]
        return "Hm." if goals and len(request.messages) == 2 else listener(request, index)

    refined, counts = refine(policy, rounds=1)
    assert refined.outcome == "rewritten" and counts["malformed"] == 1


@pytest.mark.parametrize("broken", [RuntimeError("out of memory"), np.nan])
def test_a_scorer_that_fails_leaves_the_thought_unguided(broken: object) -> None:
    def failing(*arguments: object) -> np.ndarray:
        if isinstance(broken, Exception):
            raise broken
        return np.full((1, 2), broken)

    refiner = Refiner(ScriptedClient(listener), failing, RefineOptions(goals=1))
    refined = asyncio.run(refiner.refine(view(), LEFT))
    assert (refined.outcome, refined.reason) == ("fallback", "scorer_failed")
    assert refiner.counts["fallback_scorer_failed"] == 1


@dataclass
class Failing:
    kind: str
    model: str = "failing"
    asked: list[Request] = field(default_factory=list)

    async def complete(self, request: Request) -> list[Completion]:
        self.asked.append(request)
        raise ClientError(self.kind, "It failed.")


@pytest.mark.parametrize("kind", ["content_filter", "refusal", "context", "empty", "tool_calls"])
def test_a_request_that_is_refused_falls_back(kind: str) -> None:
    refined = asyncio.run(Refiner(Failing(kind), scorer).refine(view(), LEFT))
    assert (refined.outcome, refined.reason) == ("fallback", kind)


@pytest.mark.parametrize("kind", ["budget", "key", "exhausted"])
def test_what_stops_the_run_passes_through(kind: str) -> None:
    with pytest.raises(ClientError):
        asyncio.run(Refiner(Failing(kind), scorer).refine(view(), LEFT))


def test_the_record_is_json_and_carries_the_prompts_versions(tmp_path: Path) -> None:
    (tmp_path / "goals.txt").write_text("imagining $situation $thought $count $examples")
    mine, _ = refine(
        lambda r, i: (
            '{"positive": ["You are in cell 8."], "negative": ["You are in cell 0."]}'
            if "imagining" in r.messages[0]["content"]
            else listener(r, i)
        ),
        prompts=str(tmp_path),
    )
    shipped, _ = refine()
    a, b = (json.loads(json.dumps(r.to_json()))["prompts"] for r in (mine, shipped))
    assert a["goals"] != b["goals"] and a["refine"] == b["refine"]
    assert set(b) == {"goals", "refine", "refine_act", "guess"}


def test_equal_situations_ask_alike_and_seeds_matter() -> None:
    def requests(seed: int) -> list[Request]:
        seen: list[Request] = []

        def policy(request: Request, index: int) -> str:
            seen.append(request)
            return listener(request, index)

        refiner = Refiner(ScriptedClient(policy), scorer, RefineOptions(goals=1))
        asyncio.run(refiner.refine(view(seed=seed), LEFT))
        return seen

    assert requests(1) == requests(1)
    assert [r.seed for r in requests(1)] != [r.seed for r in requests(2)]


def test_a_rewritten_thought_joins_the_candidates() -> None:
    client = ScriptedClient(
        lambda r, i: (
            "Thought: I go left.\nAction: go left"
            if "critic" not in r.messages[0]["content"]
            and "Answer with exactly two" in str(r.messages)
            else listener(r, i)
        )
    )
    agent = Agent(client, "first", correct=lambda action: action == "go right")
    guided = GuidedAgent(agent, Refiner(client, scorer, RefineOptions(goals=1)))
    decision = asyncio.run(guided.decide(view()))
    assert [c.action for c in decision.candidates] == ["go left", "go right"]
    assert decision.chosen.correct is True and decision.index == 1
    assert decision.metadata["refinement"]["outcome"] == "rewritten"
    assert len(decision.completions) == 1 + 5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scores": "oracle"}, "scores is 'oracle'"),
        ({"numbers": "words"}, "numbers is 'words'"),
        ({"grounding": "yes"}, "grounding is 'yes'"),
        ({"rounds": 0}, "rounds >= 1"),
        ({"grounding": "snap"}, "needs the training sentences"),
        ({"numbers": "calibrated"}, "need a calibration"),
    ],
)
def test_impossible_options_are_told(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(PgvError, match=sentence):
        refine(**options)


def test_a_critic_is_needed_where_its_numbers_are_shown() -> None:
    with pytest.raises(PgvError, match="'shuffled' scores needs a critic"):
        Refiner(ScriptedClient(listener), options=RefineOptions(scores="shuffled"))
    Refiner(ScriptedClient(listener), options=replace(RefineOptions(), scores="guess"))


def test_strategies_are_known_by_name() -> None:
    assert set(STRATEGIES) == {
        *("react", "proposals", "best-of-n", "refine", "propose-and-refine"),
        *("greedy-search", "bfs", "mcts"),
    }
    with pytest.raises(PgvError, match="'greedy' is unknown; use one of: react"):
        strategy("greedy")


def schemas(**options: object) -> dict[str, object]:
    """What each question of a refinement, told by its system prompt, is held to."""
    asked: dict[str, object] = {}

    def policy(request: Request, index: int) -> str:
        asked[str(request.messages[0]["content"]).split(".")[0]] = request.response_format
        return listener(request, index)

    refine(policy, LEFT, scores="guess", **options)
    refine(policy, LEFT, rounds=1, **options)
    return asked


def test_answers_are_held_to_schemas() -> None:
    held = {k: v["json_schema"]["schema"] for k, v in schemas(length=90).items()}
    sentence = {"type": "string", "maxLength": 90}
    one = {"type": "array", "items": sentence, "minItems": 1, "maxItems": 1}
    assert {name: schema["properties"] for name, schema in held.items()} == {
        "You judge a plan by imagining what may come of it": {"positive": one, "negative": one},
        "You estimate how likely imagined outcomes of a plan are": {
            "probabilities": {
                "type": "array",
                "items": {"type": "number"},
                "minItems": 2,
                "maxItems": 2,
            }
        },
        "You improve a plan for the next action": {
            "decision": {"type": "string", "enum": ["keep", "rewrite"]},
            "thought": sentence,
        },
        "You turn a plan into the next action": {
            "action": {"type": "string", "enum": ["go left", "go right"]}
        },
    }
    for schema in held.values():
        assert schema["required"] == list(schema["properties"])
        assert schema["additionalProperties"] is False


def test_text_is_asked_for_where_it_is_wanted_and_by_a_prompt_of_ones_own(tmp_path: Path) -> None:
    assert set(schemas(structured=False).values()) == {None}
    words = "You improve a plan.\n---\nThe plan: $thought\n$value"
    (tmp_path / "refine.txt").write_text(words, "utf-8")
    own = schemas(prompts=str(tmp_path))
    assert own.pop("You improve a plan") is None
    assert own and None not in own.values()
