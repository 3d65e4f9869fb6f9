"""An event as one aligned line for people: `--log-format=text`. Pure; `events` makes the events."""

from __future__ import annotations

from typing import Any

_DELIVERY = frozenset({"delivered", "deferred", "bounced", "dropped"})


def text_line(event: dict[str, Any]) -> bytes:
    """One event as text with its line feed. Text from a peer is made printable: it can forge no line and no escape."""
    name = str(event["event"])
    shown = _delivery(event) if name in _DELIVERY else _others(event)
    line = f"{event['time']}  {name:<14}  {event.get('entry') or event.get('id') or '-':<18}  {shown}"
    return f"{printable(line)}\n".encode("utf-8", "replace")


def _delivery(event: dict[str, Any]) -> str:
    where = event["mx"] or "-"
    if event["ip"]:
        where += f" [{event['ip']}]:{event['port']}"
    parts = [_people(event), f"via {where}", f"delay {event['delay']:g} s"]
    if event["tls"]:
        parts.append(event["tls"])
    if "retry_in" in event:
        parts.append(f"again in {event['retry_in']:g} s")
    if event.get("ambiguous"):
        parts.append("may arrive twice")
    return ", ".join(parts) + f": {event['enhanced']} {event['reply']}"


def _people(event: dict[str, Any]) -> str:
    return f"<{event['sender']}> -> " + " ".join(f"<{recipient}>" for recipient in event["recipients"])


_FIRST = ("time", "event", "id", "entry", "sender", "recipients")


def _others(event: dict[str, Any]) -> str:
    people = [_people(event)] if "recipients" in event else []
    return " ".join(people + [f"{key}={_value(event[key])}" for key in event if key not in _FIRST])


def _value(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if " " in text or not text else text


def printable(text: str) -> str:
    """`text` with what a terminal might obey replaced by visible escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
