"""Opens the files of an import: plain or gzip by their suffix, a bounded piece at a time, damage told and not thrown."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from episodes.importing.entries import BadLine, Line

__all__ = ["Beside", "lines_of", "refusal_of"]

_PIECE_BYTES = 1024 * 1024


def refusal_of(path: Path) -> str:
    """Return why a file cannot be read at all; empty when it can."""
    if path.is_dir():
        return f"{path} is a folder; name the files in it."
    if not path.exists():
        return f"There is no file {path}."
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
    return ""


def lines_of(path: Path, *, on_bytes: Callable[[int], None], on_damage: Callable[[BadLine], None]) -> Iterator[Line]:
    """Return a file's bytes line by line, very long lines in pieces.

    `on_bytes` hears how many bytes of the file were read; `on_damage` hears where the file could not be read on.
    """
    number, is_open, told = 1, False, 0
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        packed = path.suffix.lower() == ".gz"
        source = cast("IO[bytes]", stack.enter_context(gzip.open(raw))) if packed else raw
        while True:
            try:
                data = source.readline(_PIECE_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                on_damage(BadLine(str(path), number, f"the file is damaged and ends here: {error}"))
                return
            on_bytes(raw.tell() - told)
            told = raw.tell()
            if not data:
                return
            yield Line(str(path), number, data)
            is_open = not data.endswith(b"\n")
            number += not is_open


class Beside:
    """Reads the policy and tools files that lie near a data file, once each, and notes those that are missing."""

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self._texts: dict[tuple[str, str], str] = {}

    def __call__(self, file: str, relative: str) -> str:
        """Return a file's text, looked for beside the data file and one folder up; empty when there is none."""
        near = Path(file).parent
        key = (str(near), relative)
        if key not in self._texts:
            found = next((path for folder in (near, near.parent) if _is_file(path := folder / relative)), None)
            if found is None:
                self.missing.add(f"{near.name}/{relative}")
            self._texts[key] = found.read_text(encoding="utf-8", errors="replace") if found else ""
        return self._texts[key]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that a record made up may be no name at all
        return False
