"""The clients of the vendors, each over its official library."""
