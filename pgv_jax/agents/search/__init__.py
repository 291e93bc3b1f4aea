"""Search over candidates: the tree, the world to try things out in, the agent that plays."""
