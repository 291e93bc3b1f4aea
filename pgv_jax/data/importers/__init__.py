"""Importers: from anybody's agent logs to Episodes. ``registry`` lists them."""
