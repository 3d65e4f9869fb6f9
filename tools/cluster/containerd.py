"""containerd, which runs the containers: its configuration, and images unpacked before it starts.

Unpacking costs more than all else that a start does. So a store that holds the images is kept in the cache, and a new
node gets a copy of it: links, as nothing in there is changed in place, except the databases.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tools.cluster import images
from tools.cluster.cache import digest, entry
from tools.cluster.kubectl import Failed, run, until
from tools.cluster.processes import Service


def configuration(root: Path, socket: Path, networks: Path) -> str:
    """Its configuration file; `networks` holds that of the CNI plugins."""
    return f"""version = 2
root = "{root}"
state = "{socket.parent / "state"}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{networks}"
"""


def load(socket: Path, archives: Mapping[str, Path]) -> None:
    """Have a containerd that runs hold images, in the place of others of their names."""
    client = ("ctr", "--address", socket, "--namespace", "k8s.io")
    until(lambda: run(*client, "version"), bool, patience=30)
    for archive in archives.values():
        run(*client, "images", "import", archive)


def copy_store(root: Path) -> None:
    """Make the root directory of a containerd that is to start with the images of this checkout."""
    archives = images.archives()
    key = digest(root, [], *(str(path.parent.name) for path in archives.values()))
    store = entry("containerd", key, lambda into: _unpack(archives, into)) / "root"
    root.parent.mkdir(parents=True, exist_ok=True)
    try:
        run("cp", "--archive", "--link", store, root)
    except Failed:  # the cache is on another file system
        shutil.rmtree(root, ignore_errors=True)
        run("cp", "--archive", store, root)
    for database in root.glob("*/*.db"):
        copy = database.with_suffix(".copy")
        shutil.copy(database, copy)
        copy.rename(database)


def _unpack(archives: Mapping[str, Path], into: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mailboat-containerd-") as directory:
        socket = Path(directory) / "containerd.sock"
        file = Path(directory) / "containerd.toml"
        file.write_text(configuration(into / "root", socket, Path(directory)))
        service = Service("containerd", ["unshare", "--mount", "containerd", "--config", file], Path(directory))
        service.start(images.ENVIRONMENT)
        try:
            load(socket, archives)
        finally:
            service.stop(signal.SIGTERM)
