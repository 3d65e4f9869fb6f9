"""Faults and warnings of a configuration, with their places. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, or (as a warning) probable mistake."""

    file: str
    """Name within the configuration directory."""
    line: int
    """From 1; 0 if it is about the whole file or about something missing."""
    section: str
    key: str
    message: str
    """One line, for people."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:" if self.line else f"{self.file}:"
        section = f" [{self.section}]" if self.section else ""
        key = f" {self.key}:" if self.key else ":" * bool(section)
        return f"{where}{section}{key} {self.message}"


@dataclass(slots=True)
class Report:
    """Collects all faults and warnings of one directory."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    tolerated: list[Fault] = field(default_factory=list)
    """Faults that a start tolerates and a reload does not; see `load.Loaded`."""

    def fault(self, file: str, message: str, line: int = 0) -> None:
        """A fault of a file that has no keys, or of the file itself."""
        self.faults.append(Fault(file, line, "", "", message))

    def warn(self, file: str, message: str, line: int = 0) -> None:
        """The same as a warning."""
        self.warnings.append(Fault(file, line, "", "", message))

    def tolerate(self, file: str, message: str, line: int = 0) -> None:
        """The same as a tolerated fault."""
        self.tolerated.append(Fault(file, line, "", "", message))
