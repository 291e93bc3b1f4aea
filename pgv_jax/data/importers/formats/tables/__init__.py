"""Datasets and tables of steps."""
