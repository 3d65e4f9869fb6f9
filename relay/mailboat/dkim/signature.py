"""The DKIM-Signature field: its digest and its text (RFC 6376 3.5, 3.7). Pure; time is an argument.

The field is folded once, before it is signed: later folding could break the signature.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mailboat.dkim.canonical import Canonicalization, canonical_field
from mailboat.dkim.coverage import Coverage, covered
from mailboat.dkim.keys import SigningKey

_LINE = 74
"""Octets of a line behind its tab."""


@dataclass(frozen=True, slots=True)
class SignatureForm:
    """How signatures are made."""

    header: Canonicalization = Canonicalization.RELAXED
    body: Canonicalization = Canonicalization.RELAXED
    coverage: Coverage = field(default_factory=Coverage)
    lifetime: int | None = None
    """Seconds from signing until `x=`; None: no `x=`."""


def signatures(
    keys: Iterable[SigningKey], fields: Sequence[bytes], body_digest: bytes, form: SignatureForm, now: int
) -> bytes:
    """The DKIM-Signature field of each key for a message, with line ends, each as if the others were not there.

    `fields` are the header's, each with its line end; `body_digest` is that of `form.body`. Raises what a key raises
    when it cannot sign.
    """
    names = form.coverage.names(fields)
    header = _covered_hash(fields, names, form.header)
    made = b""
    for key in keys:
        unsigned = unsigned_field(key, names, body_digest, form, now)
        signed = base64.b64encode(key.sign(_completed(header.copy(), unsigned, form.header)))
        made += unsigned + _folded(signed.decode()).encode() + b"\r\n"
    return made


def unsigned_field(key: SigningKey, names: Iterable[str], body_digest: bytes, form: SignatureForm, now: int) -> bytes:
    """The field up to its empty `b=`, without a line end: what the signature itself covers last (RFC 6376 3.7)."""
    tags = [
        f"v=1; a={key.algorithm.tag}; c={form.header}/{form.body}; d={key.domain};",
        f"s={key.selector}; t={now};" + (f" x={now + form.lifetime};" if form.lifetime is not None else ""),
        f"h={_folded_names(names)};",
        f"bh={_folded(base64.b64encode(body_digest).decode())};",
        "b=",
    ]
    return ("DKIM-Signature: " + "\r\n\t".join(_split_long(tags))).encode("ascii")


def header_digest(
    fields: Sequence[bytes], names: Iterable[str], unsigned: bytes, canonicalization: Canonicalization
) -> bytes:
    """The SHA-256 that is signed: the covered fields, then the signature's own, without its line end."""
    return _completed(_covered_hash(fields, names, canonicalization), unsigned, canonicalization)


def _covered_hash(fields: Sequence[bytes], names: Iterable[str], canonicalization: Canonicalization) -> hashlib._Hash:
    """Of the covered fields."""
    covered_hash = hashlib.sha256()
    for field_ in covered(fields, names):
        covered_hash.update(canonical_field(field_, canonicalization))
    return covered_hash


def _completed(covered_hash: hashlib._Hash, unsigned: bytes, canonicalization: Canonicalization) -> bytes:
    """The digest, once the signature's own field has been added."""
    covered_hash.update(canonical_field(unsigned + b"\r\n", canonicalization).removesuffix(b"\r\n"))
    return covered_hash.digest()


def _split_long(tags: Iterable[str]) -> Iterable[str]:
    """A line of several tags that is too long, as a line for each."""
    for line in tags:
        if len(line) + len("DKIM-Signature: ") > _LINE and "; " in line:
            yield from (f"{tag.rstrip(';')};" for tag in line.split("; "))
        else:
            yield line


def _folded_names(names: Iterable[str]) -> str:
    """Names joined by colons, folded behind them."""
    lines, line = [], ""
    for name in names:
        if line and len(line) + len(name) + 2 > _LINE:
            lines.append(line)
            line = ""
        line += f"{name}:"
    return "\r\n\t".join([*lines, line.removesuffix(":")])


def _folded(text: str) -> str:
    """Base64, folded; shorter at first, for the tag before it."""
    first = _LINE - len("bh=")
    pieces = [text[:first], *(text[at : at + _LINE] for at in range(first, len(text), _LINE))]
    return "\r\n\t".join(pieces)
