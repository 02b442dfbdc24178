"""What a page in HTML says and links to, read by Python's own parser."""

from __future__ import annotations

from html.parser import HTMLParser

EMPTY = {"meta", "link", "br", "img", "input", "path", "line", "rect"}


class Outline(HTMLParser):
    """The elements of a page.

    Attributes:
        tags: each element's name and attributes, in their order.
        texts: the text of each element that has text of its own, by the names of the elements around it.
        open: the elements that are not closed.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in EMPTY:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))

    def of(self, *names: str) -> list[dict[str, str]]:
        """The attributes of the elements of some names."""
        return [attributes for tag, attributes in self.tags if tag in names]

    def text(self, name: str) -> str:
        """The text within elements of a name."""
        return "".join(text for around, text in self.texts if name in around)
