"""The critic: its heads, the published artifact, and the value function that asks it."""
