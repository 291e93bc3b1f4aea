"""The Resistance: Avalon as a text environment."""
