"""Decodes the lines of tables as spreadsheets write them: UTF-8, UTF-16 with its mark, else Windows-1252. Pure."""

import codecs
from collections.abc import Iterable, Iterator

from episodes.importing.entries import Line

__all__ = ["Decoder"]

_MAX_LINE_BYTES = 16 * 1024 * 1024
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Decoder:
    """Decides on the first character beyond ASCII, which is where UTF-8 and Windows-1252 part.

    `note` says so where the file is not UTF-8. Later lines that do not fit are returned with what is wrong with them.
    """

    def __init__(self) -> None:
        self.encoding = ""
        self.note = ""

    def lines(self, pieces: Iterable[Line]) -> Iterator[tuple[int, str, str]]:
        """Return each line's number, its text with its end, and what is wrong with it, empty for nothing."""
        source = iter(pieces)
        first = next(source, None)
        if first is None:
            return
        mark = next((mark for mark in _UTF16 if first.data.startswith(mark)), b"")
        first = Line(first.file, first.number, first.data.removeprefix(mark or codecs.BOM_UTF8))
        if mark:
            self.encoding, self.note = _UTF16[mark], "it is UTF-16"
            yield from self._wide(first, source)
            return
        held = first
        for piece in source:
            if held.data.endswith(b"\n") or len(held.data) > _MAX_LINE_BYTES:
                yield self._line(held)
                held = piece
            else:
                held = Line(held.file, held.number, held.data + piece.data)
        yield self._line(held)

    def _line(self, line: Line) -> tuple[int, str, str]:
        if not self.encoding and not line.data.isascii():
            self._decide(line.data)
        try:
            return line.number, line.data.decode(self.encoding or "utf-8"), ""
        except UnicodeDecodeError as error:
            problem = f"byte {error.start + 1} is no {self.encoding} text, as the lines before are"
            return line.number, line.data.decode(self.encoding, "replace"), problem

    def _decide(self, data: bytes) -> None:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            self.encoding = "cp1252"
            self.note = (
                "it is not UTF-8 and was read as Windows-1252, as older spreadsheets write it. "
                "Should letters look wrong, save it as 'CSV UTF-8' and import that"
            )
        else:
            self.encoding = "utf-8"

    def _wide(self, first: Line, rest: Iterator[Line]) -> Iterator[tuple[int, str, str]]:
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        number, held = first.number, decoder.decode(first.data)
        for piece in rest:
            held += decoder.decode(piece.data)
            *whole, held = held.split("\n")
            for text in whole:
                yield number, text + "\n", _problem(text)
                number += 1
        held += decoder.decode(b"", final=True)
        for text in held.splitlines(keepends=True):
            yield number, text, _problem(text)
            number += 1


def _problem(text: str) -> str:
    return "it is no UTF-16 text" if "\N{REPLACEMENT CHARACTER}" in text else ""
