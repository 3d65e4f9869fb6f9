"""The notes of a conversion, line by line: changed settings, and settings without a counterpart. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a file, or a whole one."""

    file: str
    line: int = 0
    """From 1; 0 for the file as a whole."""
    key: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}" if self.key else where


@dataclass(frozen=True, slots=True)
class Note:
    """One line for people."""

    place: SourceLine
    text: str
    is_lost: bool
    """It is not in the new directory."""

    def __str__(self) -> str:
        return f"{self.place}: {'not carried over: ' if self.is_lost else ''}{self.text}"


@dataclass(slots=True)
class Journal:
    """Collects notes."""

    notes: list[Note] = field(default_factory=list)

    def lost(self, place: SourceLine, why: str) -> None:
        """Something is not in the new directory."""
        self._add(Note(place, why, True))

    def became(self, place: SourceLine, what: str) -> None:
        """Something is there in another form."""
        self._add(Note(place, f"became {what}", False))

    def remark(self, place: SourceLine, text: str) -> None:
        """Something came along, and means something else."""
        self._add(Note(place, text, False))

    def sorted(self) -> list[Note]:
        """By file and line."""
        return sorted(self.notes, key=lambda note: (note.place.file, note.place.line))

    def _add(self, note: Note) -> None:
        if note not in self.notes:
            self.notes.append(note)
