"""How episodes and tables lie on disk: formats, packed files, parts that wait."""
