"""The wire formats of the served APIs: bodies, answers and streams, kept as they were written."""
