"""A strict reader of pages: every element is closed in its place, and everything in it is listed."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})
INSIDE = {  # what an element must stand in
    "tr": {"thead", "tbody"}, "td": {"tr"}, "th": {"tr"}, "li": {"ul"}, "dt": {"div"}, "dd": {"div"},
    "summary": {"details"}, "figcaption": {"figure"}, "tbody": {"table"}, "thead": {"table"}, "title": None,
}  # fmt: skip
BLOCKS = frozenset({"div", "p", "table", "section", "figure", "pre", "ul", "dl", "details", "h1", "h2"})


class Page(HTMLParser):
    """Elements as (name, attributes), all visible text, and what is wrong with the nesting."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, str] = {}
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"{name} is never closed" for name in self._open]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.faults.append(f"{tag} has an attribute twice")
        parents = INSIDE.get(tag)
        if parents and (not self._open or self._open[-1] not in parents):
            self.faults.append(f"{tag} in {self._open[-1:]}")
        if tag in BLOCKS and "p" in self._open:
            self.faults.append(f"{tag} in a paragraph")
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data):
        if self._open and self._open[-1] in ("script", "style"):
            self.raw[self._open[-1]] = self.raw.get(self._open[-1], "") + data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All visible text."""
        return " ".join(" ".join(self.texts).split())

    def named(self, name: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of one name."""
        return [attributes for tag, attributes in self.elements if tag == name]
