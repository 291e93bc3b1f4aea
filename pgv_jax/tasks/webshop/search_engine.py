"""The shop's search engine: BM25 over the products, best first, at most 50.

WebShop asks Lucene (pyserini: k1 .9, b .4, Porter's stemmer). Here it is ``tantivy``, a Rust
library in Lucene's manner in one wheel without further packages: k1 1.2, b .75, English stemmer,
every word of the query optional. So the order of results differs from WebShop's in detail.
rank_bm25 scores every product in Python for every word (4 ms a query with 1,000 products, and in
proportion with more), whoosh is no longer kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pgv_jax.parts import part

with part("tasks", "The task webshop"):
    import tantivy

RESULTS = 50
"""Results that a search gives at most, as in WebShop."""
_KEPT = 10_000
"""Queries whose results are remembered."""
_WORD = re.compile(r"[^\W_]+")
_LONGEST = 64
"""Words of a query that are looked at; a pasted page is no query."""


class SearchEngine:
    """An index in memory over texts; what it finds are their numbers. Ties go to the first."""

    def __init__(self, documents: Iterable[str]):
        schema = tantivy.SchemaBuilder()
        schema.add_integer_field("row", stored=True)
        schema.add_text_field("text", tokenizer_name="en_stem")
        self._index = tantivy.Index(schema.build())
        # One thread and one commit: one segment, so that ties are in the texts' order.
        writer = self._index.writer(num_threads=1)
        for row, text in enumerate(documents):
            writer.add_document(tantivy.Document(row=row, text=text))
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()
        self._found: dict[str, tuple[int, ...]] = {}

    def search(self, query: str) -> tuple[int, ...]:
        """Numbers of the texts that have a word of the query, best first."""
        words = " ".join(_WORD.findall(query.lower())[:_LONGEST])
        if words not in self._found:
            if len(self._found) >= _KEPT:
                self._found.clear()
            self._found[words] = self._search(words) if words else ()
        return self._found[words]

    def _search(self, words: str) -> tuple[int, ...]:
        # Lower-case words are all terms: the query language's operators are capitals and signs.
        query = self._index.parse_query(words, ["text"])
        hits = self._searcher.search(query, RESULTS).hits
        return tuple(self._searcher.doc(address)["row"][0] for _, address in hits)
