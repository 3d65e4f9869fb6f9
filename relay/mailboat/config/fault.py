"""What is wrong with a configuration, and where: the form of every fault and warning. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, or (as a warning) probably not meant."""

    file: str
    """Name within the configuration directory."""
    line: int
    """From 1; 0 where it is about the file as a whole or about what is missing."""
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
    """Collects, while one directory is read, so that everything is said at once."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    tolerated: list[Fault] = field(default_factory=list)
    """What a reload refuses, and a start goes on without; see `load.Loaded`."""

    def fault(self, file: str, message: str, line: int = 0) -> None:
        """A fault of a file that has no keys, or of the file itself."""
        self.faults.append(Fault(file, line, "", "", message))

    def warn(self, file: str, message: str, line: int = 0) -> None:
        """The same as a warning."""
        self.warnings.append(Fault(file, line, "", "", message))

    def tolerate(self, file: str, message: str, line: int = 0) -> None:
        """The same as what a start tolerates."""
        self.tolerated.append(Fault(file, line, "", "", message))
