"""How an episode ended: what a record, a table or a rule says."""
