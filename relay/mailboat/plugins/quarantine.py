"""Stores messages in a directory instead of the queue, for review. docs/plugins/quarantine.md

The client gets 250 when both files of a message are on stable storage: `ID.eml`, the message, and `ID.json`, its
envelope. A message that cannot be stored is refused temporarily, and never queued instead.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mailboat.hooks import CONT, DENYSOFT, OK, Answer, Connection, Plugin, PluginConfig, Point, Transaction
from mailboat.model.clock import SystemClock, rfc3339
from mailboat.plugins._selecting import Selecting


@dataclass(frozen=True, slots=True)
class QuarantineRules:
    """`quarantine.ini`."""

    directory: Path
    selecting: Selecting


def register(plugin: Plugin) -> None:
    """Answer `queue_outbound` for selected messages."""
    config = plugin.config("quarantine.ini", parse, secret=False)
    stored = plugin.metrics.counter("messages", "Messages that were quarantined.")

    def queue_outbound(connection: Connection) -> Answer:
        """A sync hook: it runs in a thread, and may wait for the disk."""
        rules, message = config.value, connection.transaction
        if message is None or not (why := rules.selecting.why(connection, message)):
            return CONT
        try:
            store(rules.directory, message, why)
        except OSError as error:
            plugin.logger.error("%s cannot be quarantined: %s", message.uuid, error)  # noqa: TRY400
            return DENYSOFT, "4.3.0 Message cannot be stored now"
        stored.inc()
        plugin.logger.info("%s from <%s> is quarantined: %s", message.uuid, message.mail_from, why)
        return OK, "Message quarantined"

    plugin.register_hook(Point.QUEUE_OUTBOUND, queue_outbound, on_failure=DENYSOFT)


def parse(config: PluginConfig[None]) -> QuarantineRules:
    """The rules in `quarantine.ini`. ValueError for what is wrong with them."""
    directory = Path(config.get("directory"))
    if not directory.is_absolute():
        raise ValueError("[main] directory: name an absolute path on a persistent disk")
    return QuarantineRules(directory, Selecting.parse(config, "quarantine", "directory"))


def store(directory: Path, message: Transaction, why: str) -> None:
    """Write a message and its envelope, and return when both are on stable storage. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    envelope = {
        "id": message.uuid,
        "sender": str(message.mail_from),
        "recipients": [str(address) for address in message.rcpt_to],
        "reason": why,
        "time": rfc3339(SystemClock.now()),
    }
    with message.body.open() as body:
        _write(directory / f"{message.uuid}.eml", lambda file: shutil.copyfileobj(body, file, 1 << 20))
    text = json.dumps(envelope, ensure_ascii=False) + "\n"
    _write(directory / f"{message.uuid}.json", lambda file: file.write(text.encode("utf-8", "replace")))
    _sync_directory(directory)


def _write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file completely, or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
