"""The names that people and other programs rely on: API group, annotations, labels, suffixes of children. Constants."""

from __future__ import annotations

GROUP = "mailboat.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "OutboundConfig"
PLURAL = "outboundconfigs"
SENDING_KIND = "SendingDomain"
SENDING_PLURAL = "sendingdomains"
PLURALS = {KIND: PLURAL, SENDING_KIND: SENDING_PLURAL}

FIELD_MANAGER = "mailboat-operator"
"""Field manager of all writes, and the value of the label `MANAGED_BY`."""

PAUSED = f"{GROUP}/paused"
"""Annotation: `true` stops reconciling."""
RECONCILE = f"{GROUP}/reconcile-requested-at"
"""Annotation: another value reconciles now, or has the DNS asked; `status.lastHandledReconcileAt` repeats it."""
FLUSH = f"{GROUP}/flush-requested-at"
"""Annotation: another value has every relay attempt its deferred mail; `status.lastHandledFlushAt` repeats it."""
HASH = f"{GROUP}/config-hash"
"""Annotation of the pod template, with `reload: Restart`."""
ALLOW = f"{GROUP}/allow"
ALLOWED = "outboundconfig"
"""Label by which the owner of a Secret allows OutboundConfigs to send its content to hosts of their choice."""

ROTATE = f"{GROUP}/rotate-requested-at"
"""Annotation of a SendingDomain: another value has new keys made; `status.lastHandledRotateAt` repeats it."""
COMPROMISED = f"{GROUP}/compromised"
"""Annotation of a SendingDomain: selectors of keys that must sign no more, separated by commas."""

MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER = f"{GROUP}/outboundconfig"
"""Label of children: the name of their OutboundConfig."""
SENDING_OWNER = f"{GROUP}/sendingdomain"
"""The same for children of a SendingDomain."""

OUTBOUND = "-outbound"
TLS = "-tls"
CREDENTIALS = "-credentials"
"""Suffix of a child's name after that of its OutboundConfig."""
DKIM = "-dkim"
"""Suffix of the Secret with the keys of a SendingDomain after the name of that."""
DKIM_SECRETS = tuple(f"-dkim-{number}" for number in range(8))
"""Secrets of an OutboundConfig that pods mount together: one alone does not hold the keys of a thousand domains."""
HASH_KEY = "hash.key"
HASH_KEY_SIZE = 32
"""Key of `<name>-credentials` with the random key for hashes of secrets, from which no password can be guessed."""

ADMIN_PORT = 9025
"""Admin port of a relay pod without a port named `ADMIN_PORT_NAME`."""
ADMIN_PORT_NAME = "admin"
