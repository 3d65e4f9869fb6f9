"""`mailboat operator`: the one place where the relay's distribution meets the operator's package."""

from __future__ import annotations

import sys

from mailboat import __version__
from mailboat.cli.endpoint import parse_endpoint

EX_UNAVAILABLE = 69


def run(namespaces: tuple[str, ...], listen: str, resync: float, *, all_namespaces: bool, log_format: str) -> int:
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
        )
    )
