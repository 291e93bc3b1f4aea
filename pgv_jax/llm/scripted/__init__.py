"""A model that is a script, behind a real HTTP server."""
