"""Models that know the simulated task: for rehearsals and tests."""
