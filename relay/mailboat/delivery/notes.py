"""The view of an entry that plugins get (`hmail`), and the notes that are stored afterwards.

Plugins may change their copies of the notes; changes are stored if they are JSON. Used by `delivery.hooks`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from mailboat.config.settings import Settings
from mailboat.hooks import HMail, Todo
from mailboat.model.envelope import Entry, StoredNotes
from mailboat.queue.spool import database_path

log = logging.getLogger(__name__)

LONGEST = 1 << 20
"""Most octets of notes, as JSON, that are stored; more would slow down every read of the entry."""
_NONE = b"{}"


class PluginNotes:
    """One entry as plugins see it, with the original and the present notes."""

    def __init__(self, entry: Entry, settings: Settings) -> None:
        self._entry = entry
        self._hmail = _octets(entry.noted.notes) if entry.noted is not None else _NONE
        self._todo = _octets(entry.todo_notes)
        message = entry.message
        todo = Todo(
            domain=entry.domain,
            mail_from=message.sender,
            rcpt_to=[recipient.address for recipient in entry.recipients],
            notes=_copy(self._todo),
            queue_time=int(message.queued_at * 1000),
            uuid=message.id,
            force_tls=entry.force_tls,
        )
        path = _path(settings.outbound.queue_dir, entry.key.spool)
        self.hmail = HMail(path, entry.id, entry.attempts, todo, _copy(self._hmail))

    def stored(self) -> StoredNotes | None:
        """The notes to store; None if they are unchanged."""
        entry, hmail, todo = self._entry, self.hmail, self.hmail.todo
        force_tls = bool(todo.force_tls)
        if hmail.notes == todo.notes == {} and self._hmail is self._todo is _NONE and force_tls == entry.force_tls:
            return None  # the usual case
        of_hmail = self._as_json(hmail.notes, self._hmail, "hmail.notes")
        of_todo = self._as_json(todo.notes, self._todo, "todo.notes")
        if of_hmail == self._hmail and of_todo == self._todo and force_tls == entry.force_tls:
            return None
        before = entry.noted or StoredNotes()
        return StoredNotes(
            _copy(of_hmail),
            before.todo if of_todo == self._todo else _copy(of_todo),
            before.force_tls if force_tls == entry.force_tls else force_tls,
            before.route,
        )

    def _as_json(self, notes: object, before: bytes, name: str) -> bytes:
        """Notes as octets, without values that are not JSON; the original notes if they are too large or not a
        mapping."""
        try:
            octets = orjson.dumps(notes)
        except TypeError:
            octets = orjson.dumps(self._sound(notes, name))
        if not octets.startswith(b"{") or len(octets) > LONGEST:
            log.error("%s: %s not stored: more than %d octets, or not a mapping", self._entry.id, name, LONGEST)
            return before
        return octets

    def _sound(self, notes: object, name: str) -> dict[str, Any]:
        sound: dict[str, Any] = {}
        for key, value in list(notes.items()) if isinstance(notes, Mapping) else []:
            try:
                orjson.dumps({key: value})
            except TypeError as error:
                log.error("%s: %s[%.80r] is not stored: %s", self._entry.id, name, key, error)  # noqa: TRY400
            else:
                sound[key] = value
        return sound


@lru_cache(maxsize=64)
def _path(queue_dir: str, spool: int) -> str:
    """Making paths is slow, and there are few."""
    return str(database_path(Path(queue_dir), spool))


def _octets(notes: Mapping[str, Any]) -> bytes:
    return orjson.dumps(dict(notes)) if notes else _NONE


def _copy(octets: bytes) -> dict[str, Any]:
    return dict(orjson.loads(octets)) if octets != _NONE else {}
