"""Private keys: reading them from a file, and their public records (RFC 6376 3.6.1, 8301, 8463). Pure.

Key files come from Secrets that people paste, so Windows line ends, a byte order mark and surrounding blanks are
accepted; the refusal of anything that is no key says what was found instead.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey

RSA_BITS: Final = 2048
"""Of new keys: accepted by every verifier, and small enough for a DNS answer by UDP."""
RSA_MIN: Final = 1024
"""RFC 8301 3.2: verifiers refuse shorter ones."""
_RSA_MAX: Final = 4096
"""RFC 8301 3.2: verifiers need not accept longer ones."""
_MAX_FILE: Final = 65_536
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_PRIVATE = frozenset(("PRIVATE KEY", "RSA PRIVATE KEY"))
_SEED_OCTETS: Final = 32

SELECTOR: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
"""RFC 6376 3.1: labels like those of a host name, separated by dots."""


class Algorithm(Enum):
    """The algorithm of a key; the values are those of `k=` (RFC 8463 4)."""

    RSA = "rsa"
    ED25519 = "ed25519"

    @property
    def tag(self) -> str:
        """The value of `a=`."""
        return f"{self.value}-sha256"


class KeyFault(ValueError):  # noqa: N818 - as `ConfigFault`
    """A text that is no usable key; the message says what was found."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the DNS name under which its public half is found."""

    domain: str
    """`d=`: lower case, A-labels (RFC 8616 4)."""
    selector: str
    private: PrivateKey = field(compare=False)
    warning: str = ""
    """Why a verifier may reject it."""
    public: bytes = field(init=False, repr=False)
    """The octets of `p=`: a SubjectPublicKeyInfo for RSA, the bare 32 octets for Ed25519 (RFC 8463 4.2)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "public", public_octets(self.private))

    @property
    def algorithm(self) -> Algorithm:
        """RSA or Ed25519."""
        return Algorithm.RSA if isinstance(self.private, RSAPrivateKey) else Algorithm.ED25519

    @property
    def dns_name(self) -> str:
        """Where verifiers look: `SELECTOR._domainkey.DOMAIN`."""
        return dns_name(self.selector, self.domain)

    @property
    def record(self) -> str:
        """The TXT record to publish, as one unbroken text."""
        return f"v=DKIM1; k={self.algorithm.value}; h=sha256; p={base64.b64encode(self.public).decode()}"

    @property
    def public_hash(self) -> str:
        """`sha256:…` of the public key: identifies it without disclosing the key."""
        return "sha256:" + hashlib.sha256(self.public).hexdigest()

    def sign(self, digest: bytes) -> bytes:
        """The signature over a SHA-256 digest. Ed25519 signs the digest as its message (RFC 8463 3)."""
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        return self.private.sign(digest)

    def __repr__(self) -> str:
        return f"SigningKey({self.dns_name!r}, {self.algorithm.value})"


def public_octets(private: PrivateKey) -> bytes:
    """What `p=` holds for a key."""
    if isinstance(private, RSAPrivateKey):
        return private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    return private.public_key().public_bytes_raw()


def dns_name(selector: str, domain: str) -> str:
    """The DNS name of a key (RFC 6376 3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def split_dns_name(name: str) -> tuple[str, str]:
    """Selector and domain of `SELECTOR._domainkey.DOMAIN`. Raises ValueError for another form."""
    selector, label, domain = name.lower().partition("._domainkey.")
    if not label or not SELECTOR.fullmatch(selector) or not domain:
        raise ValueError(f"{name!r} is not SELECTOR._domainkey.DOMAIN")
    return selector, domain


def parse_key(octets: bytes, *, proven: bool = False) -> tuple[PrivateKey, str]:
    """The key in a file, and a warning or an empty text. Takes about 1 ms for RSA: one signature is made and verified,
    unless the key has been `proven` before.

    Raises:
        KeyFault: it contains no key, several, or one that no verifier accepts.
    """
    if len(octets) > _MAX_FILE:
        raise KeyFault(f"larger than {_MAX_FILE} octets: not a key")
    try:
        text = octets.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise KeyFault("not text: a key is expected as PEM") from None
    blocks = [(match[1], match[0]) for match in _BLOCK.finditer(text.replace("\r\n", "\n"))]
    if not blocks:
        return _seed(text), ""
    if len(blocks) > 1:
        raise KeyFault(f"{len(blocks)} PEM blocks ({', '.join(kind for kind, _ in blocks[:4])}): one key is expected")
    kind, block = blocks[0]
    if kind not in _PRIVATE:
        raise KeyFault(f"a private key is expected, and this is a {kind}")
    return _judged(_decoded(block), proven=proven)


def make_key(algorithm: Algorithm) -> PrivateKey:
    """A new key."""
    if algorithm is Algorithm.ED25519:
        return Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS)


def to_pem(private: PrivateKey) -> bytes:
    """A key as PKCS #8 in PEM, not encrypted."""
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _decoded(block: str) -> object:
    lines = "\n".join(line.strip() for line in block.splitlines())
    if "Proc-Type:" in lines and "ENCRYPTED" in lines:
        raise KeyFault("the key is encrypted: a key without a passphrase is expected")
    try:
        # OpenSSL's check takes 0.1 s for each RSA key; one signature is checked instead.
        return serialization.load_pem_private_key(lines.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFault("the PEM block is damaged: it holds no private key") from None


def _judged(key: object, *, proven: bool) -> tuple[PrivateKey, str]:
    if isinstance(key, Ed25519PrivateKey):
        return key, ""
    if not isinstance(key, RSAPrivateKey):
        kind = type(key).__name__.strip("_").removesuffix("PrivateKey") or "unknown"
        raise KeyFault(f"an RSA or Ed25519 key is expected, and this is of the kind {kind}")
    if not proven:
        _prove(key)
    bits = key.key_size
    if bits < RSA_MIN:
        raise KeyFault(f"an RSA key of {bits} bits, which verifiers refuse (RFC 8301 3.2): {RSA_BITS} are expected")
    if bits < RSA_BITS:
        return key, f"an RSA key of {bits} bits is weak: {RSA_BITS} are expected (RFC 8301 3.2)"
    if bits > _RSA_MAX:
        return key, f"an RSA key of {bits} bits: verifiers need not accept more than {_RSA_MAX} (RFC 8301 3.2)"
    return key, ""


def _prove(key: RSAPrivateKey) -> None:
    """Raises KeyFault if a signature of the key does not verify."""
    digest, proof = bytes(32), (padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    try:
        key.public_key().verify(key.sign(digest, *proof), digest, *proof)
    except (ValueError, InvalidSignature):
        raise KeyFault("the key is damaged: what it signs does not verify") from None


def _seed(text: str) -> Ed25519PrivateKey:
    """A bare Ed25519 seed in Base64, as dkimpy and OpenDKIM keep it."""
    try:
        seed = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        seed = b""
    if len(seed) != _SEED_OCTETS:
        raise KeyFault("neither a PEM block nor an Ed25519 seed in Base64")
    return Ed25519PrivateKey.from_private_bytes(seed)
