"""Whatever takes letters in a test: it keeps them with their contents, and fails where the test says so."""

from __future__ import annotations

import asyncio

from mailboat.outbound.letter import Letter
from mailboat.outbound.submission import Port
from mailboat.queue.store import Batch, Selection, Step


class FakePort:
    """A submission that ends in a list."""

    def __init__(self, box: Letterbox, letter: Letter) -> None:
        self._box = box
        self._letter = letter
        self._pieces: list[bytes] = []

    async def write(self, octets: bytes) -> None:
        """Keep a piece."""
        if self._box.refusal:
            raise self._box.refusal
        self._pieces.append(octets)

    async def commit(self) -> str:
        """Keep the letter, or hang."""
        if self._box.hangs:
            await asyncio.Event().wait()
        self._box.letters.append((self._letter, b"".join(self._pieces)))
        return f"L-{len(self._box.letters)}"

    async def abandon(self) -> None:
        """Count it."""
        self._box.abandoned += 1


class Letterbox:
    """A mixin for fake workers and relays: `begin` of their interface, and what it has of archives."""

    def __init__(self) -> None:
        self.steps: list[tuple[Step, Batch, Selection | None]] = []
        self.archives: list[str] = []
        self.letters: list[tuple[Letter, bytes]] = []
        self.refusal: Exception | None = None
        """What a piece is answered with."""
        self.abandoned = 0
        self.hangs = False
        """Whether a commit never ends."""

    async def export(self, step: Step, batch: Batch, selection: Selection | None = None) -> int:
        """Remember the step."""
        self.steps.append((step, batch, selection))
        return 1

    async def take_in(self, archive: str) -> int:
        """Remember the path."""
        self.archives.append(archive)
        return 1

    async def begin(self, letter: Letter) -> Port:
        """Start one."""
        return FakePort(self, letter)
