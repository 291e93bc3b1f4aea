"""A file a command; ``pgv serve`` and ``pgv mcp`` share one."""
