"""TextWorld's cooking games as a text environment."""
