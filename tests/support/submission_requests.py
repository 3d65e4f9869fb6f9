"""What accepts submissions in a test: it keeps them with their contents, and fails where the test says so."""

from __future__ import annotations

import asyncio

from mailboat.queue.store import Batch, Selection, Step
from mailboat.submission.request import SubmissionRequest
from mailboat.submission.submitter import SubmissionHandle


class FakeSubmission:
    """A submission that ends in a list."""

    def __init__(self, box: SubmissionBox, request: SubmissionRequest) -> None:
        self._box = box
        self._request = request
        self._pieces: list[bytes] = []

    async def write(self, octets: bytes) -> None:
        """Keep a piece."""
        if self._box.refusal:
            raise self._box.refusal
        self._pieces.append(octets)

    async def commit(self) -> str:
        """Keep the message, or hang."""
        if self._box.hangs:
            await asyncio.Event().wait()
        self._box.submitted.append((self._request, b"".join(self._pieces)))
        return f"L-{len(self._box.submitted)}"

    async def abandon(self) -> None:
        """Count it."""
        self._box.abandoned += 1


class SubmissionBox:
    """A mixin for fake workers and relays: `begin` of their interface, and what it has of archives."""

    def __init__(self) -> None:
        self.steps: list[tuple[Step, Batch, Selection | None]] = []
        self.archives: list[str] = []
        self.submitted: list[tuple[SubmissionRequest, bytes]] = []
        self.refusal: Exception | None = None
        """What a piece is answered with."""
        self.abandoned = 0
        self.hangs = False
        """Whether a commit never ends."""

    async def export(self, step: Step, batch: Batch, selection: Selection | None = None) -> int:
        """Remember the step."""
        self.steps.append((step, batch, selection))
        return 1

    async def import_archive(self, archive: str) -> int:
        """Remember the path."""
        self.archives.append(archive)
        return 1

    async def begin(self, request: SubmissionRequest) -> SubmissionHandle:
        """Start one."""
        return FakeSubmission(self, request)
