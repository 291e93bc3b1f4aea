"""Logs that come with a benchmark, each in a format of its own."""
