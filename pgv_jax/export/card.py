"""The model card of an export: its README.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from pgv_jax.critic.artifact import Artifact, flatten
from pgv_jax.critic.next_note import separated
from pgv_jax.export.inputs import IMAGINED, PROBES, programs_of
from pgv_jax.export.parity import in_words
from pgv_jax.texts.templates import ACTION_TEMPLATE, FAILURE, OBSERVATION_TEMPLATE, SUCCESS


def card(artifact: Artifact, form: str, parity: Mapping[str, float] | None) -> str:
    """Markdown with the Hub's header: use, intended use, limits, data, metrics, facts."""
    manifest = artifact.manifest
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    # Not jinja2's own tojson, which escapes for HTML.
    environment.filters["json"] = lambda value, indent=None: json.dumps(
        value, indent=indent, sort_keys=True, ensure_ascii=False
    )
    template = environment.get_template("model_card.md.j2")
    return template.render(
        form=form,
        critic=manifest["critic"],
        heads=manifest["heads"],
        programs=programs_of(manifest["heads"]),
        imagines=IMAGINED in programs_of(manifest["heads"]),
        encoder=manifest["encoder"],
        texts=manifest["texts"],
        objective=manifest["objective"],
        calibration=manifest.get("calibration") or {},
        goals=manifest.get("goals") or {},
        data=manifest.get("data") or {},
        metrics=manifest.get("metrics") or {},
        fine_tuned=manifest.get("fine_tuned") or {},
        parameters=sum(
            value.size
            for head in manifest["heads"]
            for value in flatten(_trained(artifact, head)).values()
        ),
        parity=None if parity is None else in_words(parity),
        probes=PROBES,
        observation_template=OBSERVATION_TEMPLATE,
        action_template=ACTION_TEMPLATE,
        success=SUCCESS,
        failure=FAILURE,
    )


def _trained(artifact: Artifact, head: str) -> dict[str, Any]:
    """A head's parameters without the next-note model's constants."""
    params: dict[str, Any] = artifact.params[head]
    return separated(params)[0] if head == "m" else params
