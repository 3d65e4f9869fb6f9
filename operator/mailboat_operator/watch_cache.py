"""What the watches have reported, kept small: resources whole, their children as digests, of other objects the version.

Event handlers and the lister put objects in and get the OutboundConfigs they concern; `observe` reads. What this
process wrote itself is put in with the answer, so that the watch's event for it concerns no resource. No I/O.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mailboat_operator import names
from mailboat_operator.observed import ChildKey, LiveChild, ObjectKey, Workload, live_child
from mailboat_operator.references import SourceKind
from mailboat_operator.signing_domains import SigningDomains

DELETED = "DELETED"
_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_KEPT_ANNOTATIONS = (names.PAUSED, names.RECONCILE, names.FLUSH, names.ROTATE, names.COMPROMISED)
_RESOURCES = frozenset({names.KIND, names.SENDING_KIND})
_SUFFIXES = {
    SourceKind.SECRET: {
        names.CREDENTIALS: names.KIND,
        names.DKIM: names.SENDING_KIND,
        **dict.fromkeys(names.DKIM_SECRETS, names.KIND),
    },
    SourceKind.CONFIG_MAP: {names.OUTBOUND: names.KIND, names.TLS: names.KIND},
}
"""How the names of children end, and the kind of resource whose they are."""

Object = Mapping[str, Any]
_Place = tuple[str, str, str]
"""Kind, namespace and name."""
_Target = tuple[str, str]
"""Namespace and name of a StatefulSet."""


@dataclass(frozen=True, slots=True)
class LiveWorkload:
    """A StatefulSet and how its pods are found."""

    workload: Workload
    uid: str
    selector: str
    version: str


class WatchCache:
    """The state of one operator. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.resources: dict[ObjectKey, dict[str, Any]] = {}
        self.signing = SigningDomains()
        self.concerned: Callable[[ObjectKey], None] = lambda _: None
        """Called with the other resources that a write for one of them concerns."""
        self.hash_keys: dict[ObjectKey, bytes] = {}
        """What hashes of secrets were made with last (`names.HASH_KEY`)."""
        self._children: dict[tuple[str, ChildKey], LiveChild] = {}
        self._workloads: dict[tuple[str, str], LiveWorkload] = {}
        self._by_target: dict[_Target, set[ObjectKey]] = {}
        """The resources that have the same target."""
        self._referrers: dict[_Place, set[ObjectKey]] = {}
        self._references: dict[ObjectKey, frozenset[_Place]] = {}
        self._seen: dict[_Place, str] = {}
        """Version of each source as a reconciliation has read it last."""
        self._expected: dict[_Place, tuple[int, float]] = {}
        """Our own writes that no watch has shown yet: version, and when."""

    # Reading.

    def children(self, key: ObjectKey, candidates: Iterable[ChildKey]) -> dict[ChildKey, LiveChild]:
        """Those of `candidates` that are there."""
        found = ((child, self._children.get((key.namespace, child))) for child in candidates)
        return {child: live for child, live in found if live is not None}

    def workload(self, namespace: str, name: str) -> LiveWorkload | None:
        """A StatefulSet."""
        return self._workloads.get((namespace, name))

    def rival(self, key: ObjectKey) -> str:
        """The older OutboundConfig that has the same target as this one; empty: none."""
        place = _target(self.resources.get(key))
        oldest = min(self._by_target[place], key=self._age) if place else key
        return "" if oldest == key else oldest.name

    def _age(self, key: ObjectKey) -> tuple[str, str]:
        return self.resources[key]["metadata"].get("creationTimestamp", ""), key.name

    def lag(self) -> float:
        """Seconds since the oldest of our writes that no watch has shown."""
        oldest = min((since for _, since in self._expected.values()), default=None)
        return 0.0 if oldest is None else self._clock() - oldest

    def forget_expectations(self) -> None:
        """The watches begin again: their lists will show what is missing."""
        self._expected.clear()

    # Writing: each returns the OutboundConfigs that have to be looked at.

    def watched(self, kind: str, body: Object, type_: str | None) -> set[ObjectKey]:
        """An object from a watch; `type_` is the event's, None for the list that the watch begins with."""
        metadata = body["metadata"]
        place = (kind, metadata["namespace"], metadata["name"])
        expected = self._expected.get(place)
        if expected is not None and (_number(metadata["resourceVersion"]) or 0) >= expected[0]:
            del self._expected[place]
        return self.put(kind, body, type_)

    def put(self, kind: str, body: Object, type_: str | None = None) -> set[ObjectKey]:
        """An object from wherever."""
        metadata = body["metadata"]
        place = (kind, metadata["namespace"], metadata["name"])
        gone = type_ == DELETED
        if kind in _RESOURCES:
            return self._put_resource(kind, body, gone=gone)
        if kind == "StatefulSet":
            return self._put_workload(body, gone=gone)
        return self._put_child(SourceKind(kind), body, gone=gone) | self._put_source(place, body, gone=gone)

    def wrote(self, kind: str, body: Object, by: ObjectKey | None = None) -> None:
        """The API server's answer to a write of ours: known before the watch tells it, most of the time.

        `by` is the resource that it was written for, which does not have to be told.
        """
        metadata = body["metadata"]
        place = (kind, metadata["namespace"], metadata["name"])
        version = _number(metadata["resourceVersion"])
        told = version is not None and (_number(self._version(place)) or 0) >= version
        concerned = self.put(kind, body)
        if by is not None:
            for key in concerned - {by}:
                self.concerned(key)
        if version is not None and not told:
            self._expected.setdefault(place, (version, self._clock()))

    def removed(self, key: ObjectKey, child: ChildKey) -> None:
        """A child was deleted by us."""
        self._children.pop((key.namespace, child), None)
        if key.kind == names.SENDING_KIND:
            self.signing.put_files(key, {})

    def refer(self, key: ObjectKey, places: Iterable[tuple[str, str]]) -> None:
        """What a resource refers to now: kinds and names. Their changes will concern it."""
        new = frozenset((kind, key.namespace, name) for kind, name in places)
        old = self._references.get(key, frozenset())
        for place in old - new:
            referrers = self._referrers[place]
            referrers.discard(key)
            if not referrers:
                del self._referrers[place]
                self._seen.pop(place, None)
        for place in new - old:
            self._referrers.setdefault(place, set()).add(key)
        if new:
            self._references[key] = new
        else:
            self._references.pop(key, None)

    def saw(self, kind: str, namespace: str, name: str, version: str) -> None:
        """A reconciliation has read this version of a source; empty: it is not there."""
        self._seen[(kind, namespace, name)] = version

    def forget(self, key: ObjectKey) -> set[ObjectKey]:
        """A resource is gone."""
        concerned = self._retarget(key, _target(self.resources.pop(key, None)), None)
        self.hash_keys.pop(key, None)
        self.refer(key, ())
        return concerned | self.signing.forget(key) | self.signing.signers(key)

    def unlisted(self, kind: str, listed: set[tuple[str, str]], namespace: str, version: str) -> list[Object]:
        """What is known of a kind, was not `listed`, and is no newer than the list: as objects to `put` as deleted.

        `namespace` is the one that was listed; empty: all.
        """
        return [
            {"metadata": {"namespace": space, "name": name, "resourceVersion": known, "uid": ""}}
            for space, name, known in self._known(kind)
            if (space, name) not in listed
            and namespace in ("", space)
            and (_number(known) or 0) <= (_number(version) or 0)
        ]

    def _known(self, kind: str) -> Iterator[tuple[str, str, str]]:
        if kind in _RESOURCES:
            for key, body in self.resources.items():
                if key.kind == kind:
                    yield key.namespace, key.name, body["metadata"]["resourceVersion"]
        elif kind == "StatefulSet":
            for (namespace, name), live in self._workloads.items():
                yield namespace, name, live.version
        else:
            for (namespace, child), known in self._children.items():
                # Lists are of what carries our label; the watch tells of the rest.
                if child.kind == kind and known.label:
                    yield namespace, child.name, known.version

    def _put_resource(self, kind: str, body: Object, *, gone: bool) -> set[ObjectKey]:
        key = ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"], kind)
        known = self.resources.get(key)
        if gone:
            return {key} | self.forget(key) if known is not None else set()
        if known is not None and not _newer(body, known["metadata"]):
            return set()
        self.resources[key] = kept = _trimmed(body)
        if kind == names.SENDING_KIND:
            return {key} | self.signing.put(key, kept)
        concerned = {key} | self._retarget(key, _target(known), _target(body))
        # SPF is judged by its source addresses.
        is_same = known is not None and known["spec"] == kept["spec"]
        return concerned if is_same else concerned | self.signing.signers(key)

    def _retarget(self, key: ObjectKey, old: _Target | None, new: _Target | None) -> set[ObjectKey]:
        """Note that a resource has another target now; those for which another one may be the oldest by that."""
        if old == new:
            return set()
        if old:
            self._by_target[old].discard(key)
        if new:
            self._by_target.setdefault(new, set()).add(key)
        concerned = {other for place in (old, new) if place for other in self._by_target[place]} - {key}
        if old and not self._by_target[old]:
            del self._by_target[old]
        return concerned

    def _put_workload(self, body: Object, *, gone: bool) -> set[ObjectKey]:
        metadata = body["metadata"]
        place = (metadata["namespace"], metadata["name"])
        known = self._workloads.get(place)
        if gone:
            self._workloads.pop(place, None)
        elif known is not None and known.version == metadata["resourceVersion"]:
            return set()
        else:
            self._workloads[place] = _workload(body)
        return set(self._referrers.get(("StatefulSet", *place), ()))

    def _put_child(self, kind: SourceKind, body: Object, *, gone: bool) -> set[ObjectKey]:
        metadata = body["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        suffix = next((suffix for suffix in _SUFFIXES[kind] if name.endswith(suffix)), None)
        if suffix is None:
            return set()
        owner = ObjectKey(namespace, name.removesuffix(suffix), _SUFFIXES[kind][suffix])
        place = (namespace, ChildKey(kind, name))
        known = self._children.get(place)
        if gone:
            if known is None or metadata["uid"] not in ("", known.uid):
                return set()
            del self._children[place]
            data: dict[str, bytes] = {}
        elif known is not None and known.uid == metadata["uid"] and not _later(metadata, known.version):
            return set()
        else:
            data = content(kind, body)
            self._children[place] = child = live_child(kind, body, data)
            data = data if child.label == owner.name else {}
        concerned = self.signing.put_files(owner, data) if owner.kind == names.SENDING_KIND else set()
        return concerned | ({owner} if owner in self.resources else set())

    def _put_source(self, place: _Place, body: Object, *, gone: bool) -> set[ObjectKey]:
        referrers = self._referrers.get(place)
        if not referrers or self._seen.get(place) == ("" if gone else body["metadata"]["resourceVersion"]):
            return set()
        return set(referrers)

    def _version(self, place: _Place) -> str:
        """The version of a resource or child that is known; empty: none."""
        kind, namespace, name = place
        if kind in _RESOURCES:
            resource = self.resources.get(ObjectKey(namespace, name, kind))
            return str(resource["metadata"]["resourceVersion"]) if resource else ""
        child = self._children.get((namespace, ChildKey(SourceKind(kind), name)))
        return child.version if child else ""


def content(kind: SourceKind, body: Object) -> dict[str, bytes]:
    """The data of a Secret or ConfigMap as octets. What is no base64 is taken as it stands."""
    data: dict[str, bytes] = {}
    for name, text in (body.get("data") or {}).items():
        data[name] = _decoded(text) if kind is SourceKind.SECRET else text.encode()
    for name, text in (body.get("binaryData") or {}).items():
        data[name] = _decoded(text)
    return data


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode()


def _trimmed(body: Object) -> dict[str, Any]:
    """A resource without what is not read here; a thousand of them stay in memory."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    kept = {name: metadata[name] for name in _KEPT if name in metadata}
    return {
        "metadata": kept
        | {
            "generation": metadata.get("generation", 0),
            "deletionTimestamp": metadata.get("deletionTimestamp"),
            "annotations": {name: annotations[name] for name in _KEPT_ANNOTATIONS if name in annotations},
        },
        "spec": body.get("spec") or {},
        "status": body.get("status") or {},
    }


def _target(body: Object | None) -> _Target | None:
    """The StatefulSet that a resource is for; None: there is none, or the resource is about to go."""
    if body is None or body["metadata"].get("deletionTimestamp"):
        return None
    spec = body.get("spec")
    ref = spec.get("targetRef") if isinstance(spec, Mapping) else None
    name = ref.get("name") if isinstance(ref, Mapping) else None
    return (body["metadata"]["namespace"], name) if name and isinstance(name, str) else None


def _workload(body: Object) -> LiveWorkload:
    metadata, spec = body["metadata"], body["spec"]
    template = spec.get("template") or {}
    stamp = ((template.get("metadata") or {}).get("annotations") or {}).get(names.HASH, "")
    replicas = spec.get("replicas")
    return LiveWorkload(
        Workload(1 if replicas is None else replicas, stamp, frozenset(_config_maps(template.get("spec") or {}))),
        metadata["uid"],
        _selector(spec.get("selector") or {}),
        metadata["resourceVersion"],
    )


def _config_maps(pod: Object) -> Iterator[str]:
    """Names of the ConfigMaps among the volumes of a pod."""
    for volume in pod.get("volumes") or ():
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            if name := (source.get("configMap") or {}).get("name"):
                yield name


def _selector(selector: Object) -> str:
    """A label selector as a query says it."""
    words = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        key, values = rule["key"], ",".join(rule.get("values") or ())
        operators = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        words.append(operators.get(rule["operator"], f"!{key}"))
    return ",".join(words)


def _newer(body: Object, known: Object) -> bool:
    """Whether an object is another, or a later state, than the one that is known."""
    metadata = body["metadata"]
    return metadata["uid"] != known["uid"] or _later(metadata, known["resourceVersion"])


def _later(metadata: Object, version: str) -> bool:
    """Whether an object's version is later than `version`; versions that are no numbers are compared for equality."""
    new, old = _number(metadata["resourceVersion"]), _number(version)
    return metadata["resourceVersion"] != version if new is None or old is None else new > old


def _number(version: str) -> int | None:
    return int(version) if version.isdecimal() else None
