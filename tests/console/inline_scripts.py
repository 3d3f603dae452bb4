"""What of a page the content security policy would not run."""

import re
from html.parser import HTMLParser


class Inline(HTMLParser):
    """Collects scripts without a source and attributes that are scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        runs = (given.get("type") or "text/javascript") in {"text/javascript", "module", "application/javascript"}
        if tag == "script" and "src" not in given and runs:
            self.found.append(self.get_starttag_text() or tag)
        self.found += [name for name, value in attrs if re.fullmatch("on[a-z]+", name) and value]
        self.found += [value for _, value in attrs if (value or "").lower().startswith("javascript:")]


def inline_scripts(page: bytes) -> list[str]:
    parser = Inline()
    parser.feed(page.decode())
    return parser.found
