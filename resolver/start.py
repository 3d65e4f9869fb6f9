"""Starts unbound, the validating resolver beside a relay, with what only the running pod knows. Image `resolver`.

unbound.conf, which the chart writes, includes CLUSTER: names of the cluster are asked of the cluster's own DNS servers,
and not validated, since the root says that there is no such domain. The trust anchor of the root is copied to where
unbound may renew it (RFC 5011).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

RESOLV_CONF = Path("/etc/resolv.conf")
ANCHOR = Path("/usr/share/dns/root.key")
"""Of Debian's package dns-root-data."""
STATE = Path("/var/lib/unbound")
"""A volume of the pod: the root file system is read-only."""
CLUSTER = "cluster.conf"
UNBOUND = "/usr/sbin/unbound"


def cluster_zone(resolv_conf: str) -> str:
    """The clauses of unbound.conf for the cluster's domain, by the resolv.conf of a pod; empty where it names none.

    The kubelet writes `search NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN` for the DNS policies of a cluster.
    """
    servers: list[str] = []
    search: list[str] = []
    for line in resolv_conf.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search", *domains]:
                search = domains
    domain = next((name.removeprefix("svc.") for name in search if name.startswith("svc.")), "")
    if not domain or not servers:
        return ""
    zone = f'server:\n  domain-insecure: "{domain}"\n  local-zone: "{domain}." transparent\n'
    return zone + f'forward-zone:\n  name: "{domain}"\n' + "".join(f"  forward-addr: {each}\n" for each in servers)


def prepare(resolv_conf: Path = RESOLV_CONF, anchor: Path = ANCHOR, state: Path = STATE) -> None:
    """Write what unbound.conf refers to. An anchor that is there, renewed or of the user's, stays."""
    (state / CLUSTER).write_text(cluster_zone(resolv_conf.read_text()))
    if not (state / anchor.name).exists():
        shutil.copyfile(anchor, state / anchor.name)


if __name__ == "__main__":
    prepare()
    os.execv(UNBOUND, [UNBOUND, "-d", "-p"])  # noqa: S606 - a shell has no part in it
