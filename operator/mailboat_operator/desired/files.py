"""The files that the relay reads, rendered from a spec. Pure; `children` puts them into objects.

Written by the relay's own writer, which refuses values that it could not read back. Comments at the top change with the
referenced files, so that the configuration's hash covers these, too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping

from mailboat.config import bounce, ini
from mailboat.config.ini import MAIN
from mailboat.config.tenants import TENANT
from mailboat_operator.checks import ROUTE_FILE, Resolved, route_file
from mailboat_operator.spec import Section, Spec, TlsSpec

BIND = "bind"
_HEAD = "; Rendered by mailboat-operator; edits are overwritten.\n"


def outbound_ini(spec: Spec, resolved: Resolved, hash_key: bytes) -> str:
    """`outbound.ini`. ValueError for a value that cannot be written."""
    sections: dict[str, Section] = {MAIN: spec.outbound}
    if spec.binds:
        sections[BIND] = dict(spec.binds)
    for route in spec.routes:
        sections[f"route:{route.name}"] = {**route.keys, **{key: route_file(route.name, key) for key in route.files}}
    files = {name: content for name, content in resolved.files.items() if name.startswith(ROUTE_FILE)}
    marks = {"credentials": _mark(files, hash_key), "bounce message": _bounce_mark(resolved)}
    return _head(marks) + ini.write(sections)


def tls_ini(spec: Spec, resolved: Resolved, hash_key: bytes) -> str:
    """`tls.ini`. ValueError for a value that cannot be written."""
    sections = {MAIN: dict(_tls(spec.tls, ""))}
    if outbound := dict(_tls(spec.tls_outbound, "outbound-")):
        sections["outbound"] = outbound
    files = {name: content for name, content in resolved.files.items() if not name.startswith(ROUTE_FILE)}
    return _head({"credentials": _mark(files, hash_key)}) + ini.write(sections)


def tenants_ini(spec: Spec) -> str | None:
    """`tenants.ini`; None without tenants. ValueError for a value that cannot be written."""
    if not spec.tenants:
        return None
    return _HEAD + ini.write({f"{TENANT}{tenant.name}": tenant.keys for tenant in spec.tenants})


def tlsrpt_ini(spec: Spec) -> str | None:
    """`tlsrpt.ini`; None without reports. ValueError for a value that cannot be written."""
    return _HEAD + ini.write({MAIN: spec.tls_reports}) if spec.tls_reports else None


def shaping_ini(spec: Spec) -> str | None:
    """`shaping.ini`; None where the spec has no `shaping`. ValueError for a value that cannot be written."""
    return None if spec.shaping is None else _HEAD + ini.write(spec.shaping.sections)


def bounce_files(resolved: Resolved) -> dict[str, str]:
    """The bounce templates that are given, by file name."""
    given = {bounce.TEXT: resolved.bounce_text, bounce.HTML: resolved.bounce_html}
    return {name: text for name, text in given.items() if text is not None}


def _tls(side: TlsSpec, prefix: str) -> Iterator[tuple[str, str | tuple[str, ...]]]:
    if side.certificate:
        yield "key", f"{prefix}tls.key"
        yield "cert", f"{prefix}tls.crt"
    if side.ca:
        yield "ca", f"{prefix}ca.crt"
    if side.dhparam:
        yield "dhparam", f"{prefix}dhparam.pem"
    yield from side.keys.items()


def _head(marks: Mapping[str, str]) -> str:
    return _HEAD + "".join(f"; {what} {mark}\n" for what, mark in marks.items() if mark)


def _mark(files: Mapping[str, bytes], hash_key: bytes) -> str:
    """Changes with the content of secret files, without allowing guesses of it to be verified; empty: there are no
    files."""
    state = hmac.new(hash_key, digestmod=hashlib.sha256)
    for name in sorted(files):
        state.update(f"{name} {len(files[name])}\n".encode() + files[name])
    return state.hexdigest() if files else ""


def _bounce_mark(resolved: Resolved) -> str:
    files = bounce_files(resolved)
    if not files:
        return ""
    return hashlib.sha256("".join(f"{name} {len(text)}\n{text}" for name, text in files.items()).encode()).hexdigest()
