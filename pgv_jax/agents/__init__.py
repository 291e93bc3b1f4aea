"""How a thought becomes a choice: propose, score, select, refine, search."""
