"""The Game of 24 as a text environment."""
