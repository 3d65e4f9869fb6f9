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
    """`[tenant:NAME]`: whose mail it is, by how the client came."""

    name: str
    users: tuple[str, ...] = setting(
        (), values.user_names, "Users whose mail it is, separated by commas: the names with which they authenticate."
    )
    listeners: tuple[Endpoint, ...] = setting(
        (),
        values.endpoints,
        "Addresses of `smtp.ini`, as it writes them, separated by commas: mail that comes in there is the tenant's, "
        "unless the client has authenticated as a user of another one.",
    )
    may_name: tuple[str, ...] = setting(
        (),
        values.tenant_names,
        "Tenants whose mail its clients hand in too, separated by commas: they name one in the header field "
        "`X-Mailboat-Tenant`. Where there is a tenant, that field is taken out of every message; a message whose "
        "header is longer than 256 KiB is then refused with 552 5.3.4.",
    )


TENANT_FIELD = "x-mailboat-tenant"
"""The header field in which applications name a tenant; never passed on."""


def may_name(tenants: Sequence[Tenant], own: str, named: str) -> bool:
    """Whether clients of a tenant may say that a message is another one's."""
    return any(tenant.name == own and named in tenant.may_name for tenant in tenants)


def tenant_of(tenants: Sequence[Tenant], user: str | None, listener: Endpoint | None) -> str:
    """The tenant of a client's mail: by its user, else by where it came in."""
    by_user = next((tenant.name for tenant in tenants if user is not None and user in tenant.users), "")
    return by_user or next((tenant.name for tenant in tenants if listener in tenant.listeners), DEFAULT_TENANT)
