"""`python -m tools.cluster build | up | down DIRECTORY`: a Kubernetes cluster of one node, for tests and by hand.

`build` makes programs and images that are not in the cache. `up` starts a cluster that stays, and prints how to use it;
`down` ends it. The tests start their own, unless MAILBOAT_CLUSTER names the directory of one that `up` has started.

The cluster is real: etcd, the control plane, kubelet, CoreDNS and Helm, built from pinned Go modules, and Debian's
containerd with the images that the `Dockerfile` makes of this checkout. It runs in network, mount and process
its own namespaces, and disappears when its processes end. It needs root, Go and what `setup` installs;
with KUBECONFIG set, none of it is used. What was built stays in `~/.cache/mailboat-e2e` (about 4 GB), under a digest of
its sources. `apiserver` alone, without a node, needs no root.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from tools.cluster import earlier, images
from tools.cluster.machine import Machine
from tools.cluster.programs import Unable, all_programs


def main(words: list[str]) -> int:
    """Run a command; its exit code."""
    try:
        match words:
            case ["build"]:
                _build()
            case ["up"]:
                _up()
            case ["down", directory]:
                Machine(Path(directory)).stop()
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except Unable as unable:
        print(f"cluster: {unable}", file=sys.stderr)
        return 1
    return 0


def _build() -> None:
    all_programs()
    if "KUBECONFIG" not in os.environ:  # a cluster that is there has its images already
        images.archives()
        with contextlib.suppress(Unable):  # the test of the upgrade says why, and the others need none of these
            earlier.archives()


def _up() -> None:
    _build()
    begin = time.monotonic()
    machine = Machine.new()
    try:
        machine.start(tied=False)
    except BaseException:
        machine.stop()
        raise
    programs = ":".join(sorted({str(path.parent) for path in all_programs().values()}))
    print(f"The node is ready after {time.monotonic() - begin:.1f} s. A shell in its network:\n")
    print(
        f"  nsenter --net=/proc/{machine.pid}/ns/net env KUBECONFIG={machine.kubeconfig} PATH={programs}:$PATH bash\n"
    )
    print(f"Tests use it with MAILBOAT_CLUSTER={machine.directory}; to end it:\n")
    print(f"  {sys.executable} -m tools.cluster down {machine.directory}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
