"""``pgv export``: write a critic for use outside of JAX."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def export() -> None:
    """Write a critic for use outside of JAX."""


@export.command("torch")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def torch_(artifact: Path, out: Path) -> None:
    """Write ARTIFACT as a PyTorch model folder, and prove that both give the same values.

    OUT holds config.json, model.safetensors, the module that loads them without JAX, and a model
    card; it can be uploaded to the Hugging Face Hub as it is.
    """
    from pgv_jax.export.write import PARITY_LIMIT, export_torch

    parity = export_torch(artifact, out)
    if parity is None:
        click.echo(
            f"Wrote {out}. Parity is unchecked because PyTorch is not installed; to check it, "
            "install the extra torch (pip install torch==2.13.0) and export again."
        )
    else:
        click.echo(f"Wrote {out}. Largest difference {parity:.1e} (limit {PARITY_LIMIT:.0e}).")
