"""What is true of every page: well formed, self-contained, small."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}
FETCHES = {"src", "srcset", "poster", "data", "action", "ping", "background", "formaction"}


class Page(HTMLParser):
    """Collects tags, ids, links and text; a tag closed out of order fails at once."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> out of order"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def check_page(text: str) -> Page:
    """Read a page and assert that it is sound, loads nothing and runs nothing."""
    page = Page(text)
    assert len(text.encode()) < 2_000_000
    assert len(page.ids) == len(set(page.ids)), "an id occurs twice"
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "link", "base"}
        assert not FETCHES & set(attributes), f"<{tag}> may fetch"
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "xlink:href"):
            target = attributes.get(name)
            if target is not None:
                assert target.startswith("#")
                assert target[1:] in page.ids, f"{target} leads nowhere"
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    return page


def check_svg(svg: str) -> ET.Element:
    """Parse a chart; its colours follow the page."""
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "viewBox" in root.attrib
    assert not {"width", "height"} & set(root.attrib)
    assert root.attrib["role"] == "img"
    assert "currentColor" in svg
    assert not re.search(r"#0102\d\d", svg)
    return root
