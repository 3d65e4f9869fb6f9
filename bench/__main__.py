"""`python -m bench NAME [OPTION ...]`: every benchmark, by its name.

Each is a module with `main(words)`, which is imported only when its turn comes: some need packages or programs that
others do not. `bench/run`, `bench/backlog` and `bench/destinations` are short for the three that are run most.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NamedTuple


class _Benchmark(NamedTuple):
    module: str
    summary: str


BENCHMARKS: Mapping[str, _Benchmark] = {
    "run": _Benchmark("compare", "Mailboat against Postfix and Haraka"),
    "backlog": _Benchmark("backlog", "a million deferred messages in one worker"),
    "bounce": _Benchmark("bounce", "10,000 of 100,000 queued messages bounced by an administrator"),
    "destinations": _Benchmark("destinations", "many destinations, and a dead one among them"),
    "hostile": _Benchmark("hostile", "hosts and DNS servers that never answer, and what others get of their mail"),
    "hooks": _Benchmark("hooks", "what plugins cost: ten that do nothing at every point, against none"),
    "strangers": _Benchmark("strangers", "what clients that may not relay can do to a relay"),
    "operator": _Benchmark("outbound_configs", "a thousand OutboundConfigs at once, and a restart over them"),
    "domains": _Benchmark("sending_domains", "a thousand SendingDomains at once, and a restart over them"),
    "store": _Benchmark("scale", "the store by itself, with a million deferred messages"),
    "profile": _Benchmark("flame", "a flame graph of Mailboat under load"),
}


def main(words: Sequence[str]) -> int:
    """Runs the benchmark that the first word names; its exit status, or 2 with the list when there is none of it."""
    if words and words[0] in BENCHMARKS:
        status: int = import_module(f"bench.{BENCHMARKS[words[0]].module}").main(words[1:])
        return status
    asked = bool(words) and words[0] in ("-h", "--help")
    print(_usage(), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def _usage() -> str:
    rows = [f"  {name:13} {benchmark.summary}" for name, benchmark in BENCHMARKS.items()]
    return "\n".join(["usage: python -m bench NAME [OPTION ...]; NAME --help lists its options", "", *rows])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
