"""Runs real Helm on the charts of this tree, and hands back what it rendered. Used by tests of charts and clusters."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tools.cluster.programs import program

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
EXAMPLES = ROOT / "examples" / "values"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The objects of a release."""

    objects: Sequence[Object]

    def of(self, kind: str) -> list[Object]:
        """All of one kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str = "") -> Object:
        """The only one of a kind, or of a kind and name."""
        (found,) = (each for each in self.of(kind) if name in ("", each["metadata"]["name"]))
        return found


class RefusedError(Exception):
    """Helm did not render; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Helm:
    """One version of Helm."""

    path: Path
    home: Path
    """A directory for its own files, so that no plugin and no repository of the user's takes part."""

    def run(self, *arguments: str | Path, values: Any = None) -> str:
        """What a command prints. `values` go in as a values file. RefusedError when it fails."""
        extra = [] if values is None else ["--values", "-"]
        done = subprocess.run(
            [self.path, *arguments, *extra],
            input=None if values is None else yaml.safe_dump(values),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, **{f"HELM_{kind}_HOME": str(self.home) for kind in ("CACHE", "CONFIG", "DATA")}},
        )
        if done.returncode:
            raise RefusedError(done.stderr + done.stdout)
        return done.stdout

    def template(self, chart: str | Path, *arguments: str, values: Any = None, release: str = "") -> Rendered:
        """Render a chart, by default as a release of its own name in the namespace `mail`."""
        place = CHARTS / chart
        text = self.run(
            "template", release or place.name, place, "--namespace", "mail", *arguments, values=values or {}
        )
        return Rendered([each for each in yaml.load_all(text, Loader=_Loader) if each])

    def lint(self, chart: str) -> str:
        """What Helm's own check says; RefusedError for warnings, too."""
        return self.run("lint", "--strict", CHARTS / chart)

    def notes(self, chart: str, values: Any = None) -> str:
        """What an installation would tell the user; it is rendered like any template, without a cluster."""
        with tempfile.TemporaryDirectory(dir=self.home) as parent:
            copy = Path(parent) / chart
            shutil.copytree(CHARTS / chart, copy)
            (copy / "templates" / "notes.yaml").write_text(_NOTES)
            return str(self.template(copy, values=values).one("ConfigMap", "notes")["data"]["text"])


_NOTES = """\
kind: ConfigMap
metadata: {name: notes}
data: {text: {{ include (print .Template.BasePath "/NOTES.txt") . | quote }}}
"""


@cache
def helm(version: str, home: Path) -> Helm:
    """A Helm by its name, `helm3` or `helm4`; built where it is not there yet."""
    return Helm(program(version), home)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: the API server would take the last and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As the parent does, but each key once."""
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"{node.start_mark}: twice: {twice}")
        return super().construct_mapping(node, deep=deep)
