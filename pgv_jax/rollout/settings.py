"""A rollout as one typed tree: who plays what, guided how, for how much at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pgv_jax.agents.refine import RefineOptions
from pgv_jax.agents.search.tree import Limits
from pgv_jax.agents.select import NEEDS_SCORES, REPEAT_PENALTY
from pgv_jax.agents.strategies import STRATEGIES, strategy
from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ClientOptions
from pgv_jax.tasks import voice

FORESEEN = ("foreseen", "foreseen-shuffled")
"""Values of ``scores`` by which the model foresees the next note and V judges it; the control."""
BALLOTS = ("critic", "shuffled", *FORESEEN, "majority", "own", "oracle")
"""Values of ``scores`` by which best-of-n can pick."""
CLIENT, REFINE, LIMITS = ClientOptions(), RefineOptions(), Limits()
"""What the parts do unasked; the keys below have no other defaults."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskConfig(_Section):
    """Which episodes are played."""

    name: str = Field(
        "textworld", description="textworld, webshop, ... | an entry point's | FILE.py:Class"
    )
    args: dict[str, Any] = Field({}, description="arguments of its environment")
    split: Literal["train", "test", "all"] = "test"
    ids: tuple[str, ...] = Field((), description="tasks by id; all of the split by default")
    repeats: int = Field(1, ge=1, description="episodes a task, with other seeds")
    seed: int = Field(0, description="of the first repeat; the next ones count on")
    max_steps: int = Field(0, ge=0, description="0: the environment's own limit")
    goal: str | None = Field(None, description="a sentence to bring about in place of the task")
    goals: int = Field(0, ge=0, description="at most so many run-time goals of the tasks, evenly")

    @model_validator(mode="after")
    def _one_kind_of_goal(self) -> TaskConfig:
        if self.goal is not None and self.goals:
            raise PgvError("task.goal and task.goals exclude each other; give one of them.")
        return self


class LocalConfig(_Section):
    """How a model on this machine is served (``api_client.LocalOptions``)."""

    threads: int = Field(0, ge=0, description="0: as many as there are cores")
    slots: int = Field(8, ge=1, description="answers that are written at once")
    context: int = Field(4096, ge=128, description="tokens of a prompt and its answer")


class ApiConfig(_Section):
    """How an API model is reached (``api_client.ClientOptions``). Times in seconds."""

    base_url: str = Field("", description="default: the vendor's own")
    key_env: str | None = Field(
        None, description="environment variable of the key; 'none' for a server without"
    )
    timeout: float = Field(CLIENT.timeout, gt=0, description="bounds each try as a whole")
    connect_timeout: float = Field(CLIENT.connect_timeout, gt=0)
    concurrency: int = Field(
        CLIENT.concurrency, ge=1, description="most calls at once; adapts to 429s"
    )
    tries: int = Field(CLIENT.retry.tries, ge=1, description="of one call")
    retry_base: float = Field(
        CLIENT.retry.base, gt=0, description="waits are drawn from 0 to base 2^k"
    )
    retry_cap: float = Field(CLIENT.retry.cap, gt=0, description="and never longer than this")
    samples: Literal["auto", "parallel"] = Field(CLIENT.samples)
    extra: dict[str, Any] = Field({}, description="goes into every request as it is")
    omit: tuple[str, ...] = Field((), description="request fields that the model does not take")
    local: LocalConfig = LocalConfig()


class BudgetConfig(_Section):
    """What the whole run may spend, over all shards; unset: no limit."""

    requests: int | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    dollars: float | None = Field(None, ge=0)
    prices: str | None = Field(None, description="YAML: MODEL: {input: 2.5, output: 10.0}")


class VoiceConfig(_Section):
    """A model that plays the other seats of a task, such as a persuadee (``partner.Partner``)."""

    client: str = Field("", description="openai:MODEL | anthropic:MODEL | ...; empty: scripts play")
    api: ApiConfig = ApiConfig()
    budget: BudgetConfig = BudgetConfig()
    temperature: float = Field(voice.TEMPERATURE, ge=0)
    max_tokens: int = Field(voice.MAX_TOKENS, ge=1)


class RefineConfig(_Section):
    """How a thought is refined (``refine.RefineOptions``)."""

    goals: int = Field(REFINE.goals, ge=1, description="good goals, and as many bad ones")
    rounds: int = Field(REFINE.rounds, ge=1, description="rewrites at most")
    numbers: Literal["raw", "calibrated", "rank"] = Field(REFINE.numbers)
    grounding: Literal["off", "report", "snap"] = Field(REFINE.grounding)
    dataset: str | None = Field(None, description="whose training sentences goals are grounded in")
    fresh_goals: bool = Field(REFINE.fresh_goals, description="imagine anew for each rewrite")
    temperature: float = Field(REFINE.temperature, ge=0)
    max_tokens: int = Field(REFINE.max_tokens, ge=1)
    examples: tuple[str, ...] = Field(
        REFINE.examples, description="sentences that show the notes' wording"
    )


class SearchConfig(_Section):
    """How far a search strategy looks, each decision anew (``search_agent.SearchAgent``)."""

    expansions: int = Field(LIMITS.expansions, ge=1, description="states expanded at most")
    depth: int = Field(LIMITS.depth, ge=1, description="steps ahead at most")
    breadth: int = Field(LIMITS.breadth, ge=1, description="states that bfs keeps a level")
    root_candidates: int = Field(0, ge=0, description="proposals at the root; 0: as elsewhere")
    tokens: int | None = Field(None, ge=0, description="a decision's; unset: no limit")
    dollars: float | None = Field(None, ge=0, description="a decision's; needs budget.prices")
    hindsight: int = Field(0, ge=0, description="sentences seen that are scored as goals, too")
    replay: bool = Field(False, description="replay actions even where the task has snapshots")
    ends: str | None = Field(
        None, description="artifact whose Q values steps that end the task; default: the critic's"
    )


class RolloutConfig(_Section):
    """A whole rollout."""

    task: TaskConfig = TaskConfig()
    client: str = Field(
        "scripted:proposer",
        description="scripted:proposer[:P] | scripted:player[:SKILL] | scripted:listener[:PLANS] | "
        "openai:MODEL | anthropic:MODEL | google:MODEL | local | local:FILE.gguf",
    )
    api: ApiConfig = ApiConfig()
    voice: VoiceConfig = VoiceConfig()
    strategy: str = Field("react", description=" | ".join(STRATEGIES))
    scores: Literal[
        "critic",
        "shuffled",
        "foreseen",
        "foreseen-shuffled",
        "permuted",
        "constant",
        "none",
        "guess",
        "scalar",
        "majority",
        "own",
        "oracle",
    ] = Field(
        "critic",
        description="whose numbers guide; foreseen: V of the notes that the model foresees; the "
        "others are controls or bounds",
    )
    candidates: int = Field(6, ge=1, description="proposals a step, where several are wanted")
    artifact: str | None = Field(None, description="folder of the critic")
    store: str | None = Field(None, description="embeddings; default OUT/embeddings")
    goals: tuple[str, ...] = Field((), description="what selection asks; default: the episode's")
    weights: tuple[float, ...] | None = Field(None, description="of goals; default: the first")
    repeat_penalty: float = Field(REPEAT_PENALTY, gt=0, le=1, description="1: none")
    refine: RefineConfig = RefineConfig()
    search: SearchConfig = SearchConfig()
    pessimism: float = Field(
        0.0, ge=0, description="standard deviations of the Q ensemble that selection takes off"
    )
    temperature: float = Field(1.0, ge=0)
    max_tokens: int = Field(256, ge=1)
    answers: Literal["auto", "text", "choice", "action"] = Field(
        "auto",
        description="choice: JSON whose action is one of those offered; action: the same without "
        "a thought; auto: choice with every model but a scripted one; a task that lists no actions "
        "gets text",
    )
    rounds: int = Field(
        1, ge=0, description="choice: more calls a step, for actions that no proposal has yet"
    )
    thought_length: int = Field(
        0, ge=0, description="choice: most characters of a thought; 0: no limit, local 240"
    )
    random: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of steps at which a random action that is offered is "
        "played, for logs to learn from; marked in the step",
    )
    history: int = Field(3, ge=0, description="past turns that the model is shown")
    prompts: str | None = Field(None, description="a folder whose prompts replace the shipped ones")
    concurrency: int = Field(16, ge=1, description="episodes at once")
    cache: str | None = Field(None, description="finished samples; default OUT/cache")
    tracing: Literal["off", "file", "otlp", "global"] = Field(
        "off", description="OpenTelemetry spans: OUT/traces.jsonl, a collector, the process's own"
    )
    budget: BudgetConfig = BudgetConfig()

    @model_validator(mode="after")
    def _fits(self) -> RolloutConfig:
        # PgvError passes through pydantic as it is, without "Value error" and the whole tree
        refined = strategy(self.strategy).refined
        if self.random and (refined or strategy(self.strategy).search):
            raise PgvError(
                f"random={self.random} is for strategies that propose and select, and "
                f"{self.strategy} does more; choose react, proposals or best-of-n."
            )
        if self.scores == "oracle" and self.strategy != "best-of-n":
            raise PgvError(f"scores=oracle bounds best-of-n alone, not {self.strategy}.")
        if self.scores == "majority" and self.strategy != "best-of-n":
            raise PgvError(
                f"scores=majority counts proposals in best-of-n alone, not {self.strategy}."
            )
        if self.scores in (*FORESEEN, "own") and self.strategy != "best-of-n":
            raise PgvError(f"scores={self.scores} picks in best-of-n alone, not {self.strategy}.")
        if self.strategy == "best-of-n" and self.scores not in BALLOTS:
            raise PgvError(
                f"scores={self.scores} is a control of refinement; best-of-n takes one of: "
                f"{', '.join(BALLOTS)}."
            )
        if strategy(self.strategy).search and self.scores != "critic":
            raise PgvError(f"strategy={self.strategy} searches by scores=critic alone.")
        if self.search.dollars is not None and self.budget.prices is None:
            raise PgvError("search.dollars needs the table of prices; give budget.prices.")
        if self.weights is not None and len(self.weights) != max(1, len(self.goals)):
            raise PgvError(
                f"There are {len(self.weights)} weights for {max(1, len(self.goals))} goals; give "
                "one a goal."
            )
        if refined and self.refine.grounding != "off" and self.refine.dataset is None:
            raise PgvError(
                f"refine.grounding={self.refine.grounding} needs refine.dataset, with whose "
                "sentences goals are compared."
            )
        return self

    @property
    def arm(self) -> str:
        """The name of what plays: the strategy, and whose numbers where not the critic's."""
        plain = self.scores == "critic" or self.strategy == "react"
        return self.strategy if plain else f"{self.strategy}-{self.scores}"

    @property
    def selector(self) -> str:
        """Which of ``select.SELECTORS`` picks; a control takes the critic's place there, too."""
        chosen = strategy(self.strategy).selector
        if chosen == "first" or self.scores in ("critic", "scalar"):
            return chosen
        if self.scores in FORESEEN:
            return "critic" if self.scores == "foreseen" else "shuffled"
        if self.scores == "own":
            return "critic"
        return self.scores if self.scores in BALLOTS else "first"

    @property
    def needs_critic(self) -> bool:
        """Whether a number of the critic's is asked for anywhere."""
        asked = self.scores in ("critic", "shuffled", "permuted", "scalar")
        picks = self.selector in NEEDS_SCORES and self.scores != "own"
        return (strategy(self.strategy).refined and asked) or picks

    @property
    def prompt(self) -> str:
        """The prompt that asks for a step."""
        if not self.chooses:
            return "act"
        return "act_action" if self.answers == "action" else "act_choice"

    def check_tools(self) -> None:
        """Raise PgvError for what does not go with a task that offers tools."""
        chosen = strategy(self.strategy)
        if chosen.refined or chosen.search:
            raise PgvError(
                f"The task '{self.task.name}' offers tools, and strategy={self.strategy} works on "
                "thoughts of text; choose react, proposals or best-of-n."
            )
        if self.answers != "auto":
            raise PgvError(
                f"The task '{self.task.name}' offers tools, so its answers are calls; leave "
                f"answers={self.answers} out."
            )

    @property
    def chooses(self) -> bool:
        """Whether answers are held to the actions that are offered.

        A user's own act.txt, without an act_choice.txt beside it, says the form of answers itself.
        """
        if self.answers != "auto":
            return self.answers != "text"
        own = Path(self.prompts) if self.prompts else None
        told = own is not None and (own / "act.txt").exists()
        chosen = own is not None and (own / "act_choice.txt").exists()
        return not self.client.startswith("scripted") and (chosen or not told)
