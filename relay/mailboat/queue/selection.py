"""Makes entries from drafts, and matches selections: common to all stores.

No I/O and no clock. Used by `spool` (which says the same in SQL) and by `memory`.
"""

from __future__ import annotations

from typing import NamedTuple

from mailboat.model.address import Address
from mailboat.model.envelope import Draft, Entry, EntryKey, Message, Recipient
from mailboat.queue import ids
from mailboat.queue.entry import group
from mailboat.queue.store import Selection


class Sender(NamedTuple):
    """A sender as an operator wrote it, ready to compare; `<>` is the null sender."""

    local: str
    domain: str

    def matches(self, address: Address) -> bool:
        """Whether a message's sender matches: the local part exactly, the domain in any spelling."""
        return address.local == self.local and self.domain in (address.ascii_domain, address.domain.lower())


def read_sender(text: str) -> Sender:
    """The sender of a selection, with or without angle brackets."""
    bare = text.strip().removeprefix("<").removesuffix(">")
    local, at, domain = bare.rpartition("@")
    return Sender(local, domain.lower()) if at else Sender(bare, "")


def fits(selection: Selection, entry: Entry) -> bool:
    """Whether an entry matches a selection, without its ids."""
    return (
        (not selection.domain or entry.domain == selection.domain.lower())
        and (not selection.sender or read_sender(selection.sender).matches(entry.message.sender))
        and (selection.state is None or entry.state is selection.state)
        and (not selection.tenant or entry.message.tenant == selection.tenant)
        and (not selection.label or selection.label in entry.message.labels)
    )


def names(id_: str, entry: Entry) -> bool:
    """Whether an id, as a user types it, is that of this entry or its message."""
    return ids.parse(id_) in (ids.parse(entry.id), ids.parse(entry.message.id))


def order(entry: Entry) -> tuple[float, EntryKey]:
    """The sort key of due entries."""
    return (entry.next_attempt or 0.0, entry.key)


def entries_of(draft: Draft, name: str, key: EntryKey, now: float) -> tuple[Entry, ...]:
    """The entries that a draft becomes.

    `name` is the message's id and `key` the row before its first entry's. Raises ValueError if there are no recipients.
    """
    message = Message(
        name,
        draft.sender,
        len(draft.body) if isinstance(draft.body, bytes) else draft.body.size,
        now,
        draft.parameters,
        draft.force_tls,
        draft.notes,
        "",
        draft.tenant,
        draft.labels,
        draft.tls_required_no,
    )
    spool, row = key.spool, key.row
    entries: list[Entry] = []
    recipient = 0
    for ordinal, (domain, addresses) in enumerate(draft.groups or group(draft.recipients), 1):
        # Lists, not generators: this is half of the event loop's work to accept a message.
        if said := draft.recipient_parameters:
            members = tuple(
                [Recipient(id_, a, said.get(a.normalised, {})) for id_, a in enumerate(addresses, recipient + 1)]
            )
        else:
            members = tuple([Recipient(id_, address) for id_, address in enumerate(addresses, recipient + 1)])
        if not members:
            raise ValueError("a message needs a recipient in each of its groups")
        recipient += len(members)
        entries.append(Entry(EntryKey(spool, row + ordinal), f"{name}.{ordinal}", message, domain, members, 0, now))
    if not entries:
        raise ValueError("a message needs a recipient")
    if len(entries) > ids.MAX_ORDINAL:
        raise ValueError(f"a message cannot have more than {ids.MAX_ORDINAL} entries")
    return tuple(entries)
