"""Conversations, one a record."""
