"""Writes one JSON line for each hook that is called, for a program to read. docs/plugins/log_events.md

It is called before other plugins (priority), so that their answers do not hide an event.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mailboat.config.values import choice
from mailboat.hooks import (
    POINTS,
    Address,
    AuthAttempt,
    BounceError,
    Connection,
    DeferredInfo,
    Delivered,
    HMail,
    Plugin,
    PluginConfig,
    Point,
)
from mailboat.model.clock import SystemClock, rfc3339
from mailboat.plugins._checks import only

FIRST = -1_000_000
"""The priority: before all others."""
LINE_LIMIT = 3900
"""Octets of a line: with what the relay's log puts before it, it stays within 4,096."""
MOST_ADDRESSES = 20
"""Addresses in one line; `recipient_count` tells how many there are."""


def register(plugin: Plugin) -> None:
    """Listen at every point that `log_events.ini` names, or at all."""
    config = plugin.config("log_events.ini", parse, secret=False)

    def listener(point: Point) -> Callable[..., None]:
        def hook(*args: object) -> None:
            """A sync hook: it runs in a thread, and may wait for the disk."""
            points, file = config.value
            if not points or point in points:
                write(plugin, file, {"time": rfc3339(SystemClock.now()), "point": point.value, **described(args)})

        return hook

    for point in POINTS:
        plugin.register_hook(point, listener(point), priority=FIRST)


def parse(config: PluginConfig[None]) -> tuple[frozenset[Point], Path | None]:
    """The points to write of, none for all of them, and the file. ValueError for what is wrong with them."""
    only(config, {"main": ("points", "file")})
    points = config.read("points", _points, frozenset[Point]())
    file = config.get("file")
    if file and not Path(file).is_absolute():
        raise ValueError("[main] file: name an absolute path")
    return points, Path(file) if file else None


def _points(text: str) -> frozenset[Point]:
    return frozenset(choice(Point)(name.strip()) for name in text.split(",") if name.strip())


def write(plugin: Plugin, path: Path | None, event: dict[str, Any]) -> None:
    """One line in one system call, so that those of several workers never mix; to the relay's log without a file."""
    line = next(line for line in map(_line, _fitted(event)) if len(line) <= LINE_LIMIT)
    if path is None:
        plugin.logger.info("%s", line.decode())
        return
    # Opened for each line, so that rotating the file needs no signal.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        os.write(descriptor, line + b"\n")
    finally:
        os.close(descriptor)


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, default=str).encode("utf-8", "replace")


def _fitted(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The event as it is, then with ever less of its texts and lists."""
    yield event
    for characters in (400, 60, 6):
        yield {name: _cut(value, characters) for name, value in event.items()}


def _cut(value: Any, characters: int) -> Any:
    if isinstance(value, list):
        return [one[:characters] for one in value[: characters // 15 + 1]]
    return value[:characters] if isinstance(value, str) and len(value) > characters else value


def described(args: Sequence[object]) -> dict[str, Any]:
    """What a hook was given, without secrets and without the message."""
    event: dict[str, Any] = {}
    for arg in args:
        match arg:
            case HMail():
                event |= _hmail(arg)
            case DeferredInfo():
                event |= {"delay": arg.delay, "reason": arg.err, **_people("deferred", arg.fail_recips)}
            case BounceError():
                event |= {"reason": str(arg), **_people("bounced", (*arg.bounced_rcpt, *arg.deferred_rcpt))}
            case Delivered():
                event |= {"mx": arg.host, "ip": arg.ip, "port": arg.port, "response": arg.response, "tls": arg.secured}
                event |= {"age": arg.delay, **_people("delivered", arg.ok_recips)}
            case AuthAttempt():
                event |= {"method": arg.method, "user": arg.user}
            case Address():
                event["address"] = str(arg)
            case str():
                event["text"] = arg
            case _ if hasattr(arg, "remote_ip"):
                event |= _connection(arg)  # type: ignore[arg-type]
    return event


def _connection(connection: Connection) -> dict[str, Any]:
    event: dict[str, Any] = {"client": connection.remote_ip, "hello": connection.hello_name, "tls": connection.tls}
    if connection.auth_user is not None:
        event["user"] = connection.auth_user
    if (message := connection.transaction) is not None:
        event |= {"id": message.uuid, "sender": str(message.mail_from), **_people("recipients", message.rcpt_to)}
    return event


def _hmail(hmail: HMail) -> dict[str, Any]:
    todo = hmail.todo
    event: dict[str, Any] = {"id": todo.uuid, "entry": hmail.filename, "domain": todo.domain}
    return event | {
        "sender": str(todo.mail_from),
        "failures": hmail.num_failures,
        **_people("recipients", todo.rcpt_to),
    }


def _people(name: str, addresses: Sequence[Address]) -> dict[str, Any]:
    few = {name: [str(address) for address in addresses[:MOST_ADDRESSES]]}
    return few if len(addresses) <= MOST_ADDRESSES else few | {f"{name.removesuffix('s')}_count": len(addresses)}
