"""`mailboat operator`: the one place where the relay's distribution meets the operator's package."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from mailboat import __version__
from mailboat.cli.endpoint import parse_endpoint

EX_UNAVAILABLE = 69


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """Where the DNS is asked about the records of SendingDomains."""

    dns_server: tuple[str, ...] = ()
    """HOST:PORT of a resolver that finds the name servers of domains; may be repeated. The default is the system's."""
    dns_port: int = 53
    """The port on which these name servers are asked."""


def run(
    namespaces: tuple[str, ...], listen: str, resync: float, dns: DnsOptions, *, all_namespaces: bool, log_format: str
) -> int:
    """Run the operator until SIGTERM or SIGINT; the exit code."""
    try:
        from mailboat_operator import app  # noqa: PLC0415 - the relay's image has neither kopf nor kubernetes
    except ModuleNotFoundError as error:
        print(f"the operator needs more packages ({error.name}): install mailboat[operator]", file=sys.stderr)
        return EX_UNAVAILABLE
    where = parse_endpoint(listen, 9026)
    own = app.own_namespace() or "default"
    return app.operator(
        app.OperatorOptions(
            namespaces=() if all_namespaces else namespaces or (own,),
            listen=(where.host, where.port),
            version=__version__,
            resync=resync,
            log_text=log_format == "text",
            resolvers=tuple((server.host, server.port) for server in (parse_endpoint(s, 53) for s in dns.dns_server)),
            dns_port=dns.dns_port,
        )
    )
