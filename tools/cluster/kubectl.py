"""kubectl as a function: words in, text or parsed JSON out, and what went wrong as an exception.

It runs the real program, so that tests do what people type.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 90.0
"""Seconds after which a test that waits has failed."""


class Failed(AssertionError):  # noqa: N818 - it fails the test as a sentence
    """A command ended with an error; the text is what it said."""


def run(*words: str | Path, stdin: str | None = None, env: dict[str, str] | None = None, timeout: float = 180) -> str:
    """The standard output of a command. Raises Failed with its words, and those of its standard error."""
    done = subprocess.run(
        words,
        input=stdin or "",  # nothing of it asks questions
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, **(env or {})},
    )
    if done.returncode:
        shown = " ".join(Path(words[0]).name if number == 0 else str(word) for number, word in enumerate(words))
        raise Failed(f"{shown}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl for one cluster and one namespace."""

    program: Path
    kubeconfig: Path
    namespace: str = "default"

    def within(self, namespace: str) -> Kubectl:
        """The same for another namespace."""
        return Kubectl(self.program, self.kubeconfig, namespace)

    def __call__(self, *words: str, stdin: str | None = None, timeout: float = 180) -> str:
        """Run it; its standard output."""
        return run(
            self.program,
            f"--kubeconfig={self.kubeconfig}",
            f"--namespace={self.namespace}",
            *words,
            stdin=stdin,
            timeout=timeout,
        )

    def get(self, *words: str) -> Any:
        """`kubectl get WORDS -o json`, parsed."""
        return json.loads(self("get", *words, "-o", "json"))

    def items(self, *words: str) -> list[dict[str, Any]]:
        """The objects of a list."""
        return list(self.get(*words)["items"])

    def exists(self, *words: str) -> bool:
        """Whether there is such an object."""
        return bool(self("get", *words, "--ignore-not-found", "-o", "name").strip())

    def apply(self, *objects: dict[str, Any] | str, server_side: bool = True) -> str:
        """Apply objects, or documents of YAML."""
        text = "\n---\n".join(each if isinstance(each, str) else json.dumps(each) for each in objects)
        return self("apply", *(["--server-side", "--force-conflicts"] if server_side else []), "-f", "-", stdin=text)

    def established(self, *types: str) -> None:
        """Wait until resource types are served: `kubectl wait` fails where one is so new that it has no conditions."""
        self.until(lambda: self("wait", "--for=condition=Established", *types), lambda _: True)

    def until(self, ask: Callable[[], Any], good: Callable[[Any], object], patience: float = PATIENCE) -> Any:
        """Ask until the answer is good, and give it; a question that fails is asked again.

        Raises Failed with the last answer when `patience` seconds are over.
        """
        return until(ask, good, patience)


def until(ask: Callable[[], Any], good: Callable[[Any], object], patience: float = PATIENCE) -> Any:
    """Ask until the answer is good, and give it; a question that raises Failed is asked again."""
    deadline = time.monotonic() + patience
    while True:
        answer: Any = None
        try:
            answer = ask()
            if good(answer):
                return answer
        except Failed as error:
            answer = error
        if time.monotonic() > deadline:
            raise Failed(f"waited {patience:.0f} s in vain; the last answer: {answer}")
        time.sleep(0.1)
