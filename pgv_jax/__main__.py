"""``python -m pgv_jax`` is ``pgv``."""

from pgv_jax.cli.main import main

main()
