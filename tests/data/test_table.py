"""Opening a table: damage is named, and numpy is enough."""

import subprocess
import sys
from pathlib import Path

import pytest

from pgv_jax.data import table as tables
from pgv_jax.errors import PgvError

from .book import Book, build


@pytest.mark.parametrize("name", tables.ARRAYS)
@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_damage_names_the_file(tmp_path: Path, name: str, damage: str) -> None:
    build(tmp_path / "t", Book())
    path = tmp_path / "t" / "shard-00001" / f"{name}.npy"
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[-1] ^= 1
        path.write_bytes(bytes(data) if damage == "bit" else bytes(data[:-1]))
    with pytest.raises(PgvError, match=f"shard-00001/{name}.npy"):
        tables.Table.open(tmp_path / "t")
    if damage != "bit":
        with pytest.raises(PgvError, match=f"shard-00001/{name}.npy"):
            tables.Table.open(tmp_path / "t", verify=False)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "pgv_jax.table", "version": 99}'])
def test_a_bad_manifest_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(PgvError, match=r"manifest\.json|version 99"):
        tables.Table.open(tmp_path)
    with pytest.raises(PgvError, match="not a table"):
        tables.Table.open(tmp_path / "absent")


def test_opening_needs_numpy_only() -> None:
    code = (
        "import sys, pgv_jax.data.table;"
        "heavy = {'tensorflow_datasets', 'sentencex', 'jax', 'transformers', 'torch'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
