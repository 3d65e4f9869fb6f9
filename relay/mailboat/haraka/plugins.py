"""Haraka's list of plugins, and the files of those that Mailboat has a plugin, or something built in, for."""

from __future__ import annotations

from pathlib import PurePosixPath

from mailboat.config.shaping_values import scope
from mailboat.haraka import access
from mailboat.haraka.journal import SourceLine
from mailboat.haraka.product import Product
from mailboat.haraka.reader import MAIN, HarakaDirectory, Ini, Item, boolean
from mailboat.haraka.routes import HarakaHop, add_route

LIST = "plugins"
FORWARD = "smtp_forward.ini"
QUARANTINE = "/var/spool/haraka/quarantine"
"""Haraka's default."""

_HEADERS = "Mailboat's plugin of that name changes headers; Haraka's checks headers of inbound mail"
_INBOUND = "it checks mail from unknown clients; Mailboat accepts mail from known clients only"
_FATE = {
    "tls": "built in: STARTTLS is offered wherever there is a certificate",
    "relay_acl": "built in: see relay_acl_allow",
    "queue/deliver": "built in",
    "toobusy": "built in: mail is deferred when memory, disk or the queue are overloaded",
    "max_unrecognized_commands": "built in: see max_errors in smtp.ini",
    "prevent_credential_leaks": "mail is not searched for passwords",
    "status": "built in: see `mailboat queue` and the admin API",
    "watch": "see /metrics and the event log",
    "prometheus": "built in: /metrics",
    "queue/smtp_proxy": "a message is queued before it is forwarded; see [route:NAME]",
    "queue/smtp_bridge": "mail is not sent with each client's own password; see [route:NAME]",
    "queue/lmtp": "write a [route:NAME] with protocol=lmtp",
    "headers": _HEADERS,
    "data.headers": _HEADERS,
    "dkim_sign": "built in: see dkim.ini and dkim/",
    "dkim": "built in: see dkim.ini and dkim/",
    **dict.fromkeys(
        ("access", "attachment", "bounce", "clamd", "dnsbl", "dns-list", "fcrdns", "geoip", "greylist", "helo.checks",
         "karma", "mail_from.is_resolvable", "p0f", "rcpt_to.in_host_list", "rspamd", "spamassassin", "spf", "uribl"),
        _INBOUND,
    ),
}  # fmt: skip
_AS_THEY_ARE = {"process_title": "process_title", "queue/discard": "discard", "discard": "discard"}


def convert(source: HarakaDirectory, product: Product) -> None:
    """Read the list and, in its order, what belongs to each plugin."""
    listed = _listed(source, product)
    forward = source.ini(FORWARD) if "queue/smtp_forward" in listed else None
    forwards = forward is not None and _enables_outbound(forward, product)
    uses_acl = access.convert_relay(source, product, is_listed="relay" in listed, forwards=forwards)
    uses_acl = uses_acl or "relay_acl" in listed
    access.convert_acl(source, product, is_used=uses_acl)
    may_authenticate = access.convert_users(source, product, is_listed="auth/flat_file" in listed)
    own = {
        "auth/flat_file": may_authenticate and "auth_flat_file",
        "limit": "limit" in listed and _limit(source, product) and "limit",
        "queue/quarantine": "queue/quarantine" in listed and _quarantine(source, product) and "quarantine",
        **_AS_THEY_ARE,
    }
    if forward is not None and forwards:
        _forward(forward, product, listed["queue/smtp_forward"])
    for name, place in listed.items():
        ours = own.get(name)
        if ours:
            product.plugins.append(str(ours))
            if ours != name:
                product.journal.became(place, str(ours))
        elif name in _FATE:
            product.journal.lost(place, _FATE[name])
        elif name not in ("relay", "queue/smtp_forward", *own):
            product.journal.lost(place, "Mailboat has no such plugin; docs/hooks.md says how to write one in Python")
    product.plugins = list(dict.fromkeys(product.plugins))
    _timeouts(source, product, {str(ours): name for name, ours in own.items() if ours})


def _listed(source: HarakaDirectory, product: Product) -> dict[str, SourceLine]:
    listed: dict[str, SourceLine] = {}
    for place, line in source.lines(LIST) or ():
        name = line.removeprefix("haraka-plugin-")
        named = SourceLine(place.file, place.line, line)
        if name in listed:
            product.journal.lost(named, f"already listed in line {listed[name].line}")
        else:
            listed[name] = named
    return listed


def _limit(source: HarakaDirectory, product: Product) -> bool:
    """`limit.ini`: what is about deliveries. Whether there is anything for the plugin `limit`."""
    ini, found = source.ini("limit.ini"), False
    for section, put in (("outbound", _put_connections), ("rate_outbound", _put_rate)):
        enabled = ini.pop(section, "enabled")
        items = ini.rest(section)
        if enabled is None or not boolean(enabled, product.journal):
            for item in items[:1]:
                product.journal.lost(item.place, f"[{section}] is not enabled")
            continue
        for item in items:
            found |= put(item, product)
    for section in ini.sections():
        for item in ini.rest(section)[:1]:
            product.journal.lost(
                item.place, f"[{section}] is about clients; see max_connections… in smtp.ini, and Redis is not used"
            )
    return found


def _put_connections(item: Item, product: Product) -> bool:
    """A domain's connections at once as `connections` in shaping.ini; the plugin has nothing to do for it."""
    if item.key == "delay":
        product.journal.lost(item.place, "mail waits until a connection ends")
        return False
    section, suffix = ("default", " per domain") if item.key.lower() == "default" else (f"domain:{item.key}", "")
    try:
        where = str(scope(section))
    except ValueError as error:
        product.journal.lost(item.place, str(error))
        return False
    value = "none" if item.value == "0" else f"{item.value}{suffix}"
    if product.put(item.place, "shaping.ini", where, "connections", value):
        product.journal.became(item.place, f"connections={value} in shaping.ini [{where}], counted over all workers")
    return False


def _put_rate(item: Item, product: Product) -> bool:
    """A domain's rate, for the plugin."""
    product.journal.remark(item.place, "counts in each worker; there is no shared store")
    return product.put(item.place, "limit.ini", "rate_outbound", item.key, item.value.replace(" ", ""))


def _quarantine(source: HarakaDirectory, product: Product) -> bool:
    ini = source.ini("quarantine.ini")
    path = ini.pop(MAIN, "quarantine_path")
    place = path.place if path else SourceLine("quarantine.ini")
    where = path.value if path and path.value else QUARANTINE
    for section in ini.sections():
        for item in ini.rest(section):
            product.journal.lost(item.place, "unknown key")
    if not PurePosixPath(where).is_absolute():
        product.journal.lost(place, f"{where!r} is not an absolute path")
        return False
    product.journal.became(place, f"directory={where} in quarantine.ini; a message becomes ID.eml and ID.json there")
    return product.put(place, "quarantine.ini", MAIN, "directory", where)


def _enables_outbound(ini: Ini, product: Product) -> bool:
    """Whether smtp_forward hands on the mail of clients that may relay."""
    outbound = ini.pop(MAIN, "enable_outbound")
    if outbound is None or boolean(outbound, product.journal):
        return True
    text = "forwards only mail from unknown clients; Mailboat accepts mail from known clients only"
    product.journal.lost(outbound.place, text)
    return False


def _forward(ini: Ini, product: Product, listed: SourceLine) -> None:
    """`smtp_forward.ini` as routes: queued first, and then handed to the same hosts."""
    journal = product.journal
    selector = ini.pop(MAIN, "domain_selector")
    by_sender = selector is not None and selector.value.lower() == "mail_from"
    journal.became(listed, "[route:NAME] in outbound.ini: a message is queued before it is forwarded")
    for section in ini.sections():
        hop, place = _hop(section, ini, product)
        if section == MAIN:
            add_route(place, "*", hop or HarakaHop("localhost:25", tls=False), product)
        elif hop is None:
            journal.lost(place, f"[{section}] has no host")
        elif by_sender:
            _by_sender(place, section, hop, product)
        else:
            add_route(place, section, hop, product)


def _hop(section: str, ini: Ini, product: Product) -> tuple[HarakaHop | None, SourceLine]:
    """One section's host; None when it names none."""
    keys = ("host", "port", "enable_tls", "auth_type", "auth_user", "auth_pass")
    found = {key: ini.pop(section, key) for key in keys}
    place = next((item.place for item in found.values() if item), SourceLine(FORWARD))
    for item in ini.rest(section):
        product.journal.lost(item.place, "a route has no such key")
    host, port, tls = found["host"], found["port"], found["enable_tls"]
    if host is None and section != MAIN:
        return None, place
    name = host.value if host else "localhost"
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    auth = {key: one.value if (one := found[f"auth_{key}"]) else "" for key in ("user", "pass", "type")}
    password = found["auth_pass"]
    if password is not None:
        product.journal.became(password.place, "a separate file, which auth_pass_file names")
    return HarakaHop(
        host=f"{name}:{port.value if port else 25}",
        tls=tls is not None and boolean(tls, product.journal),
        user=auth["user"],
        password=auth["pass"],
        auth_type=auth["type"],
    ), place


def _by_sender(place: SourceLine, domain: str, hop: HarakaHop, product: Product) -> None:
    section = f"from:{domain}"
    values = {
        "host": hop.host,
        "auth_user": hop.user,
        "auth_pass": hop.password,
        "auth_type": hop.auth_type,
        "tls": "" if hop.tls else "disabled",
    }
    if all(product.put(place, "forward.ini", section, key, value) for key, value in values.items() if value):
        product.secret_inis.add("forward.ini")
        product.plugins.append("forward")
        product.journal.became(place, f"[{section}] in forward.ini, for the plugin forward")


def _timeouts(source: HarakaDirectory, product: Product, names: dict[str, str]) -> None:
    """`plugin_timeout`, and those of single plugins under their new names."""
    wanted = {"plugin_timeout": "plugin_timeout", **{f"{old}.timeout": f"{new}.timeout" for new, old in names.items()}}
    for old, new in wanted.items():
        item = source.value(old)
        if item is None:
            continue
        if item.value.isascii() and item.value.isdigit():
            product.file(new, f"{item.value}\n".encode())
        else:
            product.journal.lost(item.place, f"{item.value[:40]!r} is not a whole number of seconds")
