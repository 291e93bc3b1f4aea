"""Is a critic to be trusted? The figures of the health report, and what they amount to."""
