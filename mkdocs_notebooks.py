"""A hook of mkdocs: a notebook of docs/ becomes a page like the others, with its outputs.

nbconvert writes it as Markdown, so that links, headings and the theme are mkdocs' own. The plugin
mkdocs-jupyter was tried: it left links between pages as they were, and asked a host for scripts.
"""

from __future__ import annotations

import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import HighlightMagicsPreprocessor

WRAPPED = "<style>.md-typeset pre > code { white-space: pre-wrap; }</style>\n\n"
"""Outputs hold sentences, which would run out of sight."""
LINK = re.compile(r"\]\(([\w./-]+)\.ipynb([#)])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put a page NAME.md, with its pictures, beside each NAME.ipynb, which stays to be loaded."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        name = file.src_uri.removesuffix(".ipynb")
        pictures = f"{posixpath.basename(name)}_files"
        exporter = MarkdownExporter(preprocessors=[HighlightMagicsPreprocessor])
        text, resources = exporter.from_filename(
            file.abs_src_path, resources={"output_files_dir": pictures, "unique_key": "output"}
        )
        files.append(File.generated(config, f"{name}.md", content=WRAPPED + text))
        folder = posixpath.dirname(name)
        for path, content in resources["outputs"].items():
            files.append(File.generated(config, posixpath.join(folder, path), content=content))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to a notebook to its page."""
    return LINK.sub(r"](\1.md\2", markdown)
