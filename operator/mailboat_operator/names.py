"""The names that people and other programs rely on: API group, annotations, labels, suffixes of children. Constants."""

from __future__ import annotations

GROUP = "mailboat.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "OutboundConfig"
PLURAL = "outboundconfigs"

FIELD_MANAGER = "mailboat-operator"
"""Owner of every field that is written, and the value of the label `MANAGED_BY`."""

PAUSED = f"{GROUP}/paused"
"""Annotation: `true` stops reconciling."""
RECONCILE = f"{GROUP}/reconcile-requested-at"
"""Annotation: another value reconciles now; `status.lastHandledReconcileAt` repeats it."""
FLUSH = f"{GROUP}/flush-requested-at"
"""Annotation: another value has every relay attempt its deferred mail; `status.lastHandledFlushAt` repeats it."""
HASH = f"{GROUP}/config-hash"
"""Annotation of the pod template, with `reload: Restart`."""
ALLOW = f"{GROUP}/allow"
ALLOWED = "outboundconfig"
"""Label by which the owner of a Secret lets OutboundConfigs send what it holds to hosts of their choice."""

MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER = f"{GROUP}/outboundconfig"
"""Label of children: the name of their OutboundConfig."""

OUTBOUND = "-outbound"
TLS = "-tls"
CREDENTIALS = "-credentials"
"""What a child's name adds to that of its OutboundConfig."""
HASH_KEY = "hash.key"
HASH_KEY_SIZE = 32
"""Key of `<name>-credentials` whose octets, random, make hashes of secrets that no password can be guessed from."""

ADMIN_PORT = 9025
"""Of a relay pod that has no port named `ADMIN_PORT_NAME`."""
ADMIN_PORT_NAME = "admin"
