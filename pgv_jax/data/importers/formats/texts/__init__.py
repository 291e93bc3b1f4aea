"""Transcripts in plain text, and dialogues of two people."""
