"""What reports compare, one record each: arms that play, and scorers of logged steps.

A new one is a row of ``COLUMNS``; every table, chart and verdict reads its name, words and colour
from there. One that has no row is shown under its own name.
"""

from __future__ import annotations

from dataclasses import dataclass

BLUE, PALE, TEAL, ORANGE = "#2f7de1", "#6aa5ee", "#0f8a8a", "#c2660c"
GREEN, VIOLET, PINK, GREY = "#1a9460", "#a65fd6", "#d0497a", "#808893"
"""Mid-tones that stand out on light and on dark ground."""


@dataclass(frozen=True)
class Column:
    """An arm or a scorer: its key in reports, its printed name, half a sentence, its colour.

    ``words`` say what it is; ``scores`` what its numbers are, where that needs other words.
    Without ``colour`` a chart takes one by the place. ``reference``: every other arm is compared
    with this one, pair by pair.
    """

    name: str
    label: str
    words: str = ""
    colour: str = ""
    scores: str = ""
    reference: bool = False


COLUMNS = (
    Column(
        "first",
        "First proposal",
        "take what the proposer says first; no critic",
        GREY,
        "the proposer's own order",
        reference=True,
    ),
    Column(
        "critic",
        "Critic",
        "imagines the next note of each proposal; takes the one that is worth most",
        BLUE,
        "Q(s, thought, success), the artifact that is judged",
    ),
    Column(
        "critic_v",
        "Critic, V head",
        "the same critic's value of the state, blind to the thought",
        PALE,
        "V(s, success) of the same artifact, blind to the thought",
    ),
    Column(
        "direct",
        "Critic, direct Q",
        "the same critic's Q head, which reads the thought and imagines nothing",
        TEAL,
        "the same critic's Q head, which imagines nothing",
        reference=True,
    ),
    Column(
        "success_only",
        "Success-only critic",
        "a critic trained on success alone, by the same objective",
        ORANGE,
        reference=True,
    ),
    Column(
        "monte_carlo",
        "Monte-Carlo head",
        "the same network fitted on discounted outcomes, no bootstrapping",
        VIOLET,
        "the same network fitted on discounted outcomes",
        reference=True,
    ),
    Column(
        "shuffled",
        "Shuffled scores",
        "the critic's scores dealt out at random among the proposals",
        PINK,
        reference=True,
    ),
    Column(
        "oracle",
        "Simulator's oracle",
        "the simulator tells the right proposal: the ceiling of these proposals",
        GREEN,
    ),
    Column("random", "Random choice", "any candidate, equally likely", GREY),
    Column("constant", "Constant", "the success rate in training, whatever is seen", GREY),
    Column(
        "step_index",
        "Step index alone",
        "a clock: knows how many steps have passed and nothing else",
        PINK,
    ),
    Column(
        "logistic_regression", "Logistic regression", "a linear probe of the same embeddings", GREEN
    ),
    Column(
        "monte_carlo_regression",
        "Monte-Carlo regression",
        "ridge regression of the discounted outcome on the same embeddings",
    ),
    Column(
        "task_only",
        "Task alone",
        "a linear probe of the task's embedding, blind to every step",
    ),
    Column(
        "tf_idf",
        "Words (TF-IDF)",
        "logistic regression on the words themselves, without embeddings",
    ),
    Column(
        "tf_idf_task",
        "Words of the task alone",
        "the same on the words of the task, blind to every step",
    ),
    Column("length_only", "Lengths alone", "the number of characters of each text, no words"),
    Column(
        "critic_calibrated",
        "Critic, calibrated",
        "after the calibration that the artifact carries",
        ORANGE,
    ),
    Column(
        "shuffled_thoughts",
        "Critic, thoughts exchanged",
        "each step scored with the thought of another episode at this step",
    ),
    Column(
        "shuffled_goals",
        "Critic, goals exchanged",
        "asked for another row's goal: what all but the goal tells",
    ),
    Column(
        "shuffled_states",
        "Critic, all but the goal exchanged",
        "the goal kept, all else of another row: what the goal tells",
    ),
    Column(
        "popularity",
        "Popularity of the goal",
        "the share of training episodes in which the sentence ever holds",
    ),
    Column(
        "similarity",
        "Similarity to the observation",
        "inner product of the embeddings of observation and goal",
    ),
)
_BY_NAME = {column.name: column for column in COLUMNS}


def column(name: str) -> Column:
    """The record of an arm or a scorer; of one without a row, its name made readable."""
    return _BY_NAME.get(name) or Column(name, name.replace("_", " ").strip().capitalize())


def label(name: str) -> str:
    """The printed name of an arm, a scorer or a kind of goal."""
    return column(name).label


def named(name: str) -> str:
    """``label`` inside of a sentence: a small letter first, but for a proper name."""
    text = label(name)
    return text if text.startswith("Monte") else text[0].lower() + text[1:]


def explanation(name: str) -> str:
    """What an arm is, in half a sentence; empty where unknown."""
    return column(name).words


def score_explanation(name: str) -> str:
    """What a scorer's numbers are, in half a sentence; empty where unknown."""
    return column(name).scores or column(name).words
