"""DKIM keys in the Secrets that the operator fills: the kubelet brings them to `dkim/` in pods that run."""

from __future__ import annotations

import asyncio
from functools import partial

from tests.e2e.releases import RELAY, Releases
from tools.cluster.kubectl import Kubectl, until

from mailboat.dkim.keys import Algorithm, SigningKey, make_key, to_pem


def test_new_keys_come_into_running_pods_and_sign_without_a_restart(kubectl: Kubectl, releases: Releases) -> None:
    """With `always`, because the mails of this test have no From."""
    relays = releases.relays({"config": {"files": {"dkim.ini": "[domain:sender.test]\nalways=true\n"}}})
    lives = relays.lives()

    def signed(algorithm: Algorithm) -> float:
        asyncio.run(relays.submit(f"service/{RELAY}", 25, "sign this"))
        return relays.total(f"mailboat_dkim_signatures_total{{algorithm={algorithm.value}}}{{result=signed}}")

    for number, algorithm in ((0, Algorithm.ED25519), (7, Algorithm.RSA)):
        assert signed(algorithm) == 0
        key = SigningKey("sender.test", f"mb{number}", make_key(algorithm))
        data = {f"{key.dns_name}.pem": to_pem(key.private).decode()}
        name = f"{RELAY}-dkim-{number}"
        kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
        until(partial(signed, algorithm), bool, 180)
    assert relays.lives() == lives
