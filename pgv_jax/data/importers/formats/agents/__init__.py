"""What agents and their frameworks write of a run."""
