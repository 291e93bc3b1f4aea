"""The critic in front of a model's API (``app`` has the routes), and as tools of MCP."""
