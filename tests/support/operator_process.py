"""The operator as its own process, the way people run it, and what tests ask of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.support.kube_api import until
from tools.ports import free_ports

COMMAND = str(Path(sys.executable).with_name("mailboat"))


class OperatorProcess:
    """One replica."""

    def __init__(self, kubeconfig: Path, directory: Path, *words: str, name: str = "") -> None:
        """`directory` takes its log. `words` are further ones of the command line; `name` is the pod's."""
        (self.port,) = free_ports(1)
        self._log = directory / f"operator-{self.port}.log"
        environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "POD_NAMESPACE": "default"}
        if name:
            environ["POD_NAME"] = name
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [COMMAND, "operator", f"--listen=127.0.0.1:{self.port}", *words],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environ,
            )

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of an answer; status 0 when there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, series: str) -> float:
        """The value of a series, spelled as it is exposed; 0 where it is not."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.http("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    @property
    def leads(self) -> bool:
        """Whether it holds the lease."""
        return self.metric('leader_election_master_status{name="mailboat-operator"}') == 1

    def until_ready(self) -> None:
        """Wait until it has read everything, and works."""
        until(lambda: self._alive() and self.leads and self.http("/readyz")[0], lambda status: status == 200)

    def _alive(self) -> bool:
        assert self.process.poll() is None, f"it has ended with {self.process.returncode}:\n{self.log[-3000:]}"
        return True

    def stop(self) -> int:
        """End it with SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def operator(kubeconfig: Path, directory: Path, *words: str) -> Iterator[OperatorProcess]:
    """One that works; it is ended afterwards, and must end well."""
    running = OperatorProcess(kubeconfig, directory, *words)
    try:
        running.until_ready()
        yield running
    finally:
        code = running.stop()
    assert code == 0, running.log[-3000:]
