"""The notes of a message and of an entry, as hooks are given them and as they are stored afterwards.

Hooks get copies that are theirs to change; what they changed is what is stored, as far as it is JSON. Used by
`delivery.hooks`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import orjson

from mailboat.hooks import HMail
from mailboat.model.envelope import Entry, Noted

log = logging.getLogger(__name__)

LONGEST = 1 << 20
"""Octets of notes, as JSON, that are stored; more would burden every look at the entry."""
_NONE = b"{}"


class NoteBook:
    """The notes of one entry: as they were, and what became of them."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._hmail = _octets(entry.noted.notes) if entry.noted is not None else _NONE
        self._todo = _octets(entry.todo_notes)

    def hmail(self) -> dict[str, Any]:
        """A copy of `hmail.notes` for hooks to change."""
        return _copy(self._hmail)

    def todo(self) -> dict[str, Any]:
        """A copy of `todo.notes` for hooks to change."""
        return _copy(self._todo)

    def noted(self, hmail: HMail) -> Noted | None:
        """What is to be stored now; None when nothing differs from what is."""
        entry, todo = self._entry, hmail.todo
        force_tls = bool(todo.force_tls)
        if hmail.notes == todo.notes == {} and self._hmail is self._todo is _NONE and force_tls == entry.force_tls:
            return None  # as mostly
        of_hmail = self._stored(hmail.notes, self._hmail, "hmail.notes")
        of_todo = self._stored(todo.notes, self._todo, "todo.notes")
        if of_hmail == self._hmail and of_todo == self._todo and force_tls == entry.force_tls:
            return None
        before = entry.noted or Noted()
        return Noted(
            _copy(of_hmail),
            before.todo if of_todo == self._todo else _copy(of_todo),
            before.force_tls if force_tls == entry.force_tls else force_tls,
        )

    def _stored(self, notes: object, before: bytes, name: str) -> bytes:
        """Notes as octets, without what is no JSON; as they were when that leaves too much or nothing sensible."""
        try:
            octets = orjson.dumps(notes)
        except TypeError:
            octets = orjson.dumps(self._sound(notes, name))
        if not octets.startswith(b"{") or len(octets) > LONGEST:
            log.error("%s: %s of more than %d octets, or no map: not stored", self._entry.id, name, LONGEST)
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


def _octets(notes: Mapping[str, Any]) -> bytes:
    return orjson.dumps(dict(notes)) if notes else _NONE


def _copy(octets: bytes) -> dict[str, Any]:
    return dict(orjson.loads(octets)) if octets != _NONE else {}
