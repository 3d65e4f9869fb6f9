"""`tenants.ini`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailboat.config import values
from mailboat.config.nouns import Endpoint
from mailboat.config.settings.key import setting
from mailboat.model.envelope import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Tenant:
    """`[tenant:NAME]`: a tenant, and how its clients are recognised."""

    name: str
    users: tuple[str, ...] = setting(
        (),
        values.user_names,
        "User names, separated by commas: mail of clients that authenticate as one of them belongs to the tenant.",
    )
    listeners: tuple[Endpoint, ...] = setting(
        (),
        values.endpoints,
        "Addresses spelled as in `smtp.ini`, separated by commas: mail received there belongs to the tenant, unless "
        "the client has authenticated as a user of another tenant.",
    )
    may_name: tuple[str, ...] = setting(
        (),
        values.tenant_names,
        "Other tenants for which its clients may submit mail, separated by commas. The header field "
        "`X-Mailboat-Tenant` names the tenant. If there are tenants, this field is removed from every message, and a "
        "message whose header exceeds 256 KiB is refused with 552 5.3.4.",
    )


TENANT_FIELD = "x-mailboat-tenant"
"""The header field in which applications name a tenant; always removed."""


def may_name(tenants: Sequence[Tenant], own: str, named: str) -> bool:
    """Whether clients of the tenant `own` may submit mail for the tenant `named`."""
    return any(tenant.name == own and named in tenant.may_name for tenant in tenants)


def tenant_of(tenants: Sequence[Tenant], user: str | None, listener: Endpoint | None) -> str:
    """The tenant of a client's mail: by the user, else by the listener."""
    by_user = next((tenant.name for tenant in tenants if user is not None and user in tenant.users), "")
    return by_user or next((tenant.name for tenant in tenants if listener in tenant.listeners), DEFAULT_TENANT)
