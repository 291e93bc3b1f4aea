"""Runs and arms side by side."""
