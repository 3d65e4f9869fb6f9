"""SendingDomains at a real API server, as a test changes, publishes and reads them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from tests.support.kube_api import KubeApi, until
from tests.support.name_servers import NameServers

from mailboat.config.fault import Report
from mailboat.config.files import GivenFiles
from mailboat.config.parse import settings_of

NAME = "news"


def rendered_hash(api: KubeApi) -> str:
    """The hash of the configuration of the OutboundConfig `relay`."""
    config = api.get("outboundconfigs", "relay") or {}
    return str(config.get("status", {}).get("config", {}).get("hash", ""))


def sending_domain(api: KubeApi, domain: str, name: str = NAME, **spec: Any) -> None:
    """Create one for `relay`."""
    body = {
        "apiVersion": "mailboat.dev/v1alpha1",
        "kind": "SendingDomain",
        "metadata": {"name": name},
        "spec": {"domain": domain, "outboundConfigRefs": [{"name": "relay"}], **spec},
    }
    api.create("sendingdomains", body)


def status(api: KubeApi, name: str = NAME) -> dict[str, Any]:
    """Its status, as far as there is one."""
    found: dict[str, Any] = (api.get("sendingdomains", name) or {}).get("status", {})
    return found


def condition(api: KubeApi, kind: str, name: str = NAME) -> tuple[str, str]:
    """Status and reason of a condition."""
    found = {c["type"]: (c["status"], c["reason"]) for c in status(api, name).get("conditions", ())}
    return found.get(kind, ("", ""))


def message(api: KubeApi, kind: str = "Ready", name: str = NAME) -> str:
    """The message of a condition."""
    return next((str(c["message"]) for c in status(api, name).get("conditions", ()) if c["type"] == kind), "")


def states(api: KubeApi, name: str = NAME) -> dict[str, str]:
    """The state of each key, by selector."""
    return {key["selector"]: key["state"] for key in status(api, name).get("keys", ())}


def ask_again(api: KubeApi, word: str, name: str = NAME) -> None:
    """Have the DNS asked at once."""
    annotate(api, "reconcile-requested-at", word, name)


def annotate(api: KubeApi, annotation: str, value: str, name: str = NAME) -> None:
    """Set an annotation of our group."""
    api.patch("sendingdomains", name, {"metadata": {"annotations": {f"mailboat.dev/{annotation}": value}}})


def publish_all(api: KubeApi, dns: NameServers, name: str = NAME, servers: tuple[int, ...] = (0, 1)) -> None:
    """Publish what the status shows."""
    for record in status(api, name)["records"]:
        dns.publish(record["name"], record["value"], servers)


def until_states(api: KubeApi, *wanted: str, name: str = NAME) -> dict[str, str]:
    """Wait until its keys have these states; they, by selector."""
    return until(lambda: states(api, name), lambda found: sorted(found.values()) == sorted(wanted))


def files(api: KubeApi) -> dict[str, bytes]:
    """What a relay pod sees, keys in `dkim/`."""
    found: dict[str, bytes] = {}
    for suffix in ("outbound", "tls"):
        config_map = api.get("configmaps", f"relay-{suffix}") or {}
        found |= {name: text.encode() for name, text in config_map.get("data", {}).items()}
    for number in range(8):
        secret = api.get("secrets", f"relay-dkim-{number}") or {}
        found |= {f"dkim/{name}": base64.b64decode(text) for name, text in secret.get("data", {}).items()}
    return found


def signing(api: KubeApi, domain: str) -> list[str]:
    """Selectors of the keys with which a relay that reads these files signs."""
    report = Report()
    settings = settings_of(GivenFiles(files(api), report), report, host_name="relay.test")
    assert not report.faults
    keys = settings.signer.keys_for([f"From: joe@{domain}\r\n".encode()]) if settings.signer else []
    return [key.selector for key in keys]


def until_ready(api: KubeApi, dns: NameServers, *, keys: int = 2, name: str = NAME) -> None:
    """Publish everything, and wait until the domain signs."""
    until(lambda: len(status(api, name).get("records", ())), lambda found: found == keys)
    publish_all(api, dns, name)
    ask_again(api, "ready", name)
    until(lambda: condition(api, "Ready", name), lambda found: found == ("True", "Ready"))


def in_all(word: str) -> Callable[[list[str]], bool]:
    """Whether a word is in all of some texts."""
    return lambda texts: bool(texts) and all(word in text for text in texts)


def events(api: KubeApi, name: str = NAME) -> list[str]:
    """Reasons of the Events of a SendingDomain."""
    found = [e for e in api.items("events") if e["involvedObject"]["name"] == name]
    return [event["reason"] for event in found if event["involvedObject"]["kind"] == "SendingDomain"]
