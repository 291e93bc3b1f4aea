"""ALFWorld as a text environment."""
