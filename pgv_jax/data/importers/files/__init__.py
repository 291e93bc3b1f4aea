"""Files as streams of records."""
