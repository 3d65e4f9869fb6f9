"""Helm as a function, of either major version: the commands that people type, with separate files for its settings."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster.kubectl import run


@dataclass(frozen=True, slots=True)
class Helm:
    """Helm for one cluster and one namespace."""

    program: Path
    kubeconfig: Path
    namespace: str = "default"

    @property
    def major(self) -> int:
        """3 or 4."""
        return int(self.program.name.removeprefix("helm"))

    def __call__(self, *words: str, stdin: str | None = None, timeout: float = 300) -> str:
        """Run it; its standard output. Raises Failed with what it says."""
        with tempfile.TemporaryDirectory(prefix="mailboat-helm-") as home:
            own = {f"HELM_{name}_HOME": f"{home}/{name}" for name in ("CACHE", "CONFIG", "DATA")}
            where = [f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}"]
            return run(self.program, *words, *where, stdin=stdin, env=own, timeout=timeout)

    def install(self, release: str, chart: Path, values: dict[str, Any] | None = None, *more: str) -> str:
        """`helm upgrade --install --wait` with these values."""
        words = ["upgrade", "--install", release, str(chart), "--wait", "--timeout=3m", "--values=-", *more]
        return self(*words, stdin=json.dumps(values or {}))
