"""How episodes are put into words, and how texts are cut. Knows types and errors alone."""
