"""Persuasion as a text environment."""
