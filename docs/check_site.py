"""Check the built site: links, anchors, and that nothing is loaded from elsewhere.

python docs/check_site.py site
"""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads by itself: the attribute of each element.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src"}


class Page(HTMLParser):
    """The links and the anchors of one page."""

    def __init__(self, path: Path) -> None:
        """Read a page."""
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.foreign: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to, loads, or is named."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values.get("id", ""), values.get("name", "")} - {""}
        target = values.get(LOADED.get(tag, ""), "")
        # A <link> of these kinds only names another page.
        named = values.get("rel") in {"canonical", "prev", "next"}
        if target and not named:
            self.links.add(target)
            if urlsplit(target).netloc:
                self.foreign.add(target)
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])


def faults_of(site: Path) -> list[str]:
    """Return what is wrong with a site."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    # A server shows the page for what is not found at any address.
    pages.pop(site / "404.html", None)
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site)
        faults += [f"{name} loads {target}" for target in sorted(page.foreign)]
        for link in sorted(page.links):
            split = urlsplit(link)
            if split.scheme or split.netloc:
                continue
            target = (path.parent / unquote(split.path)).resolve()
            target = path.resolve() if not split.path else target
            if not target.exists():
                faults.append(f"{name} links to {link}, which is not there")
            other = {p.resolve(): p for p in pages}.get(target)
            anchor = unquote(split.fragment)
            if anchor and other and anchor not in pages[other].anchors | {"__skip"}:
                faults.append(f"{name} links to {link}, which has no such anchor")
    if not pages:
        faults.append("there is no page")
    elif not json.loads((site / "search.json").read_text())["items"]:
        faults.append("the search finds nothing")
    return faults


if __name__ == "__main__":
    faults = faults_of(Path(sys.argv[1]).resolve())
    print(*faults, sep="\n")
    sys.exit(bool(faults))
