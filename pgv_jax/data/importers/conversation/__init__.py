"""From messages to steps."""
