"""Spans and runs that tracing tools export: each call of a model with what it was asked."""
