"""A way from a test into a cluster whose network it is not in: local ports that lead to any address in there.

One `kubectl port-forward` leads to a pod (`gate`) that connects to the address that is asked for; so a service spreads
connections over its pods, and a pod that goes away takes along its own connections only.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.cluster import gate
from tools.cluster.kubectl import Failed, Kubectl, until
from tools.cluster.processes import TIED
from tools.ports import free_ports

_NAME = "way-in"


@contextlib.contextmanager
def opened(kubectl: Kubectl, image: str) -> Iterator[WayIn]:
    """A way in, by a pod in the namespace of `kubectl`."""
    kubectl.apply(_pod(image))
    kubectl("wait", "--for=condition=Ready", f"pod/{_NAME}", "--timeout=120s")
    (port,) = free_ports(1)
    words = [str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}", f"--namespace={kubectl.namespace}"]
    process = subprocess.Popen(
        [*TIED, *words, "port-forward", f"pod/{_NAME}", f"{port}:{gate.PORT}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    drain = threading.Thread(target=process.stdout.read, daemon=True)
    try:
        if not process.stdout.readline().startswith(b"Forwarding"):
            raise Failed(f"kubectl port-forward pod/{_NAME} does not forward")
        drain.start()  # it says a line for each connection
        yield WayIn(port)
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(Failed):
            kubectl("delete", "pod", _NAME, "--wait=false")


class WayIn:
    """Where the gate can be reached."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextlib.contextmanager
    def reach(self, host: str, port: int) -> Iterator[int]:
        """A local port that leads to an address of the cluster, once something answers there."""
        until(lambda: self._answers(host, port), bool, patience=30)
        started: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = []
        ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(host, port, started, ready)))
        thread.start()
        ready.wait()
        local, loop, stop = started[0]
        try:
            yield local
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    async def _serve(self, host: str, port: int, started: list[Any], ready: threading.Event) -> None:
        stop = asyncio.Event()

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                far = await self._connect(host, port)
            except (OSError, EOFError):
                writer.transport.abort()
                return
            await gate.both((reader, writer), far)

        server = await asyncio.start_server(client, "127.0.0.1", 0)
        started.append((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        server.close()

    def _answers(self, host: str, port: int) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=10) as gate_side:
            gate_side.sendall(f"{host} {port}\n".encode())
            return gate_side.makefile("rb").readline() == b"ok\n"
        return False

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"{host} {port}\n".encode())
        answer = await reader.readline()
        if answer != b"ok\n":
            writer.transport.abort()
            raise ConnectionRefusedError(answer.decode().strip())
        return reader, writer


def _pod(image: str) -> dict[str, Any]:
    container = {
        "name": "gate",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", Path(gate.__file__).read_text()],
        "readinessProbe": {"tcpSocket": {"port": gate.PORT}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _NAME},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
