"""DKIM in the comparison: the keys, what a signature costs by itself, and whether relays sign at all.

Called by `bench.compare`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import load, process
from bench.fault import BenchError
from bench.measure import Bench, handed_on
from bench.relays.relay import Relay
from mailboat.dkim.keys import SigningKey, parse_key

_DOMAIN = load.SENDER.partition("@")[2]
_KINDS = {"rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "ed25519": ["-algorithm", "ED25519"]}
_SIGNATURE = re.compile(rb"^DKIM-Signature:.*?\ba=([a-z0-9]+)-sha256", re.DOTALL | re.MULTILINE | re.IGNORECASE)
_SIGNATURES = 300


def make_keys(directory: Path) -> dict[str, Path]:
    """A new key of each algorithm for the domain of the load; its file is named as the DNS will name it."""
    keys = {}
    for algorithm, options in _KINDS.items():
        keys[algorithm] = directory / f"{algorithm}._domainkey.{_DOMAIN}.pem"
        process.run(["openssl", "genpkey", *options, "-out", keys[algorithm]])
        keys[algorithm].chmod(0o644)  # a throw-away key, read by relays that run as other users
    return keys


def costs(keys: Mapping[str, Path]) -> dict[str, float]:
    """CPU seconds that one signature takes by itself, of a digest that is there already, for each algorithm."""
    return {algorithm: _cost(path) for algorithm, path in keys.items()}


def check(bench: Bench, relay: Relay, algorithms: Sequence[str]) -> None:
    """Raises BenchError when a message that `relay` hands on has not one signature of each of these algorithms."""
    found = [name.decode() for name in _SIGNATURE.findall(handed_on(bench, relay, algorithms))]
    if sorted(found) != sorted(algorithms):
        raise BenchError(f"signs with {', '.join(found) or 'nothing'}, and not with {', '.join(algorithms)}")


def _cost(path: Path) -> float:
    key = SigningKey(_DOMAIN, "cost", parse_key(path.read_bytes())[0])
    began = time.thread_time()
    for number in range(_SIGNATURES):
        key.sign(number.to_bytes(32))
    return (time.thread_time() - began) / _SIGNATURES
