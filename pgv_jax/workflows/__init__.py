"""The parts joined: a dataset to a critic, the quickstart, and iterated learning."""
