"""The configuration directory that a pod of a rendered chart would see, written to disk as the kubelet would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.helm import Object, Rendered


def volume(rendered: Rendered, name: str = "config") -> Object:
    """A volume of the relay's pod."""
    volumes = rendered.one("StatefulSet")["spec"]["template"]["spec"]["volumes"]
    (found,) = (each for each in volumes if each["name"] == name)
    return dict(found)


def write(rendered: Rendered, directory: Path, others: Mapping[str, Mapping[str, str]] | None = None) -> Path:
    """Write what the projected volumes hold: the chart's ConfigMaps, and `others` by their names."""
    known: dict[str, Mapping[str, str]] = {
        each["metadata"]["name"]: each["data"] or {} for each in rendered.of("ConfigMap")
    }
    known.update(others or {})
    for name, folder in (("config", directory), ("dkim", directory / "dkim")):
        for source in volume(rendered, name)["projected"]["sources"]:
            for path, content in _files(source, known):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(content)
    return directory


def _files(source: Object, known: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    (reference,) = source.values()
    data = known.get(reference["name"])
    if data is None:
        assert reference.get("optional"), f"{reference['name']} is not there, and the pod would wait for it"
        return
    if "items" in reference:
        for item in reference["items"]:
            yield item["path"], data[item["key"]]
    else:
        yield from data.items()
