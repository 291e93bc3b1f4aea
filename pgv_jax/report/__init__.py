"""Is the critic any good? Statistics, baselines, the health report, charts and pages."""
