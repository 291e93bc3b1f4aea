"""Importers: from anybody's agent logs to Episodes. ``detection`` lists them."""
