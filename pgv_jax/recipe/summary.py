"""The choice in words, for people who read a terminal and not a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANSWERS = {
    "probe": "The outcome goals are answered by a linear probe, {folds} members over folds of "
    "{tasks} tasks: their values are chances of success.",
    "network": "The outcome goals are answered by a linear probe with a small network beside it, "
    "{folds} members over folds of {tasks} tasks: their values are chances of success.",
    "td": "The outcome goals are answered by {td} like all others: their values are discounted.",
}
WHAT = {
    "probe": "Over the clock alone the probe's scores gain",
    "network": "over the probe, a network beside it gains",
    "td": "over what was chosen before it, {td} gains",
}
NAMES = {"direct": "TD", "imagined": "imagined Q"}
"""What a record calls ``td``, by the critic's Q."""


def sentences(record: Mapping[str, Any]) -> list[str]:
    """What answers the outcome goals and why, by the manifest's ``recipe``."""
    named = {**record, "td": NAMES[record.get("q", "direct")]}
    said = [ANSWERS[record["chosen"]].format_map(named)]
    if record["why"]:
        said.append(f"No other way was tried: {record['why']}.")
        return said
    parts = [
        f"{WHAT[name].format_map(named)} {_nats(found)}" for name, found in record["gains"].items()
    ]
    said.append("; ".join(parts) + ".")
    trials = record.get("trials")
    if trials and trials["converged"] is False:
        said.append(
            f"{named['td']} was still improving when its trials' {trials['updates']:,} updates "
            "ended (not converged): it may be better than this; give it more with train.steps."
        )
    if (record["gains"]["probe"]["low"] or 0) <= 0:
        said.append("That is no evidence that these texts say anything about the outcome.")
    return said


def _nats(found: Mapping[str, Any]) -> str:
    if found["nats"] is None:
        return "nothing that can be judged"
    low, high = found["low"], found["high"]
    around = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    return f"{found['nats']:+.3f} nats a step{around}"
