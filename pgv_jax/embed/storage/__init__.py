"""The store of embeddings and its files."""
