"""Checks the signatures of a message (RFC 6376 6.1). Pure: the caller supplies the key records.

It is for people who test the mail that they send; the relay does not verify mail.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from mailboat.dkim.canonical import Canonicalization, body_hash
from mailboat.dkim.coverage import name_of
from mailboat.dkim.keys import RSA_MIN, Algorithm, dns_name
from mailboat.dkim.record import KeyRecord, parse_record, usable_algorithm
from mailboat.dkim.signature import header_digest
from mailboat.dkim.tags import names_in, parse_tags, without_white

MAX_SIGNATURES: Final = 20
_B_VALUE: Final = re.compile(rb"(?P<tag>(?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*", re.DOTALL)
_REQUIRED: Final = ("v", "a", "b", "bh", "d", "h", "s")


class SignatureVerdict(StrEnum):
    """The result for one signature (RFC 8601 2.7.1)."""

    PASS = "pass"  # noqa: S105 - a word of the RFC
    FAIL = "fail"
    PERMERROR = "permerror"
    """The signature or the key record cannot be used."""


@dataclass(frozen=True, slots=True)
class Verification:
    """One signature, judged."""

    verdict: SignatureVerdict
    reason: str
    domain: str
    selector: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class SignatureTags:
    """A DKIM-Signature field, parsed and in itself consistent."""

    algorithm: Algorithm
    header: Canonicalization
    body: Canonicalization
    domain: str
    selector: str
    identity: str
    """The domain of `i=`."""
    names: tuple[str, ...]
    body_digest: bytes
    signature: bytes
    expires: int | None

    @property
    def dns_name(self) -> str:
        """Where its key is."""
        return dns_name(self.selector, self.domain)


def signature_fields(fields: Sequence[bytes]) -> list[bytes]:
    """The DKIM-Signature fields of a header, from the top; a bounded number."""
    return [field for field in fields if name_of(field) == "dkim-signature"][:MAX_SIGNATURES]


def parse_signature(field: bytes) -> SignatureTags:
    """A DKIM-Signature field. Raises ValueError with the reason when no verifier could use it."""
    tags = parse_tags(field.partition(b":")[2].decode("utf-8", "replace"))
    if missing := [name for name in _REQUIRED if not tags.get(name)]:
        raise ValueError(f"{', '.join(missing)} missing")
    if tags["v"] != "1":
        raise ValueError(f"v={tags['v']} is not version 1")
    if "l" in tags:
        raise ValueError("l= leaves part of the body unsigned")
    header, _, body = tags.get("c", "simple/simple").partition("/")
    names = tuple(names_in(tags["h"]))
    if "from" not in names:
        raise ValueError("h= does not list From")
    domain = tags["d"].lower()
    identity = tags.get("i", f"@{domain}").rpartition("@")[2].lower()
    if identity != domain and not identity.endswith(f".{domain}"):
        raise ValueError("i= is not below d=")
    expires = tags.get("x")
    return SignatureTags(
        algorithm=_algorithm(tags["a"]),
        header=Canonicalization(header),
        body=Canonicalization(body or "simple"),
        domain=domain,
        selector=tags["s"].lower(),
        identity=identity,
        names=names,
        body_digest=_base64(tags["bh"], "bh"),
        signature=_base64(tags["b"], "b"),
        expires=int(expires) if expires and expires.isascii() and expires.isdigit() else None,
    )


def verify(
    fields: Sequence[bytes], body: Sequence[bytes], records: Callable[[str], Sequence[str]], now: float
) -> list[Verification]:
    """Judge each signature of a message.

    `fields` are the header's, each with its line end; `body` is in pieces with CRLF line ends; `records` gives the TXT
    records under a DNS name. Raises what `records` raises.
    """
    return [_verify(field, fields, body, records, now) for field in signature_fields(fields)]


def _verify(
    field: bytes, fields: Sequence[bytes], body: Sequence[bytes], records: Callable[[str], Sequence[str]], now: float
) -> Verification:
    try:
        tags = parse_signature(field)
    except ValueError as error:
        return Verification(SignatureVerdict.PERMERROR, f"the signature cannot be used: {error}", "", "", "")

    def result(verdict: SignatureVerdict, reason: str) -> Verification:
        return Verification(verdict, reason, tags.domain, tags.selector, tags.algorithm.tag)

    if tags.expires is not None and now > tags.expires:
        return result(SignatureVerdict.FAIL, "the signature has expired")
    texts = records(tags.dns_name)
    if not texts:
        return result(SignatureVerdict.PERMERROR, f"no key at {tags.dns_name}")
    try:
        record = parse_record(texts[0])
        public = _public_key(record, tags)
    except ValueError as error:
        return result(SignatureVerdict.PERMERROR, f"the key at {tags.dns_name} cannot be used: {error}")
    digest = body_hash(tags.body)
    for piece in body:
        digest.update(piece)
    if not hmac.compare_digest(digest.digest(), tags.body_digest):
        return result(SignatureVerdict.FAIL, "the body was changed after it was signed")
    unsigned = _without_value(field)
    covered = [other for other in fields if other is not field]
    if not _is_signed(public, tags.signature, header_digest(covered, tags.names, unsigned, tags.header)):
        return result(SignatureVerdict.FAIL, "the header was changed after it was signed, or another key signed it")
    return result(SignatureVerdict.PASS, "")


def _without_value(field: bytes) -> bytes:
    """The field as it was signed: its `b=` empty, no line end."""
    name, colon, value = field.partition(b":")
    emptied = _B_VALUE.sub(rb"\g<tag>", value, count=1)
    return (name + colon + emptied).removesuffix(b"\n").removesuffix(b"\r")


def _algorithm(value: str) -> Algorithm:
    found = next((algorithm for algorithm in Algorithm if algorithm.tag == value.lower()), None)
    if found is None:
        raise ValueError(f"a={value} is not a current algorithm (RFC 8301)")
    return found


def _base64(value: str, tag: str) -> bytes:
    try:
        return base64.b64decode(without_white(value), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{tag}= is not Base64") from None


def _public_key(record: KeyRecord, tags: SignatureTags) -> RSAPublicKey | Ed25519PublicKey:
    """The key of a record that may verify this signature. Raises ValueError with the reason when none may."""
    if not record.public:
        raise ValueError("the key is revoked")
    if usable_algorithm(record) is not tags.algorithm:
        raise ValueError(f"k={record.algorithm} does not fit a={tags.algorithm.tag}")
    if record.hashes is not None and "sha256" not in record.hashes:
        raise ValueError("h= does not list sha256")
    if "*" not in record.services and "email" not in record.services:
        raise ValueError("s= does not list email")
    if "s" in record.flags and tags.identity != tags.domain:
        raise ValueError("t=s requires that i= is d=")
    if tags.algorithm is Algorithm.ED25519:
        return Ed25519PublicKey.from_public_bytes(record.public)
    try:
        key = serialization.load_der_public_key(record.public)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("p= is not an RSA key") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < RSA_MIN:
        raise ValueError(f"p= is not an RSA key of {RSA_MIN} bits or more")
    return key


def _is_signed(public: RSAPublicKey | Ed25519PublicKey, signature: bytes, digest: bytes) -> bool:
    try:
        if isinstance(public, RSAPublicKey):
            public.verify(signature, digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        else:
            public.verify(signature, digest)
    except InvalidSignature:
        return False
    return True
