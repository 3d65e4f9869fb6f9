"""`tenants.ini`: a section for each tenant. Called by `load`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mailboat.config.fault import Report
from mailboat.config.ini import IniFile
from mailboat.config.sections import named_sections, read_section, warn_of_sections
from mailboat.config.settings import Endpoint, Tenant
from mailboat.config.text import quoted
from mailboat.model.envelope import TENANT_NAME

TENANT = "tenant:"


def read_tenants(file: IniFile, listened: Collection[Endpoint], report: Report) -> tuple[Tenant, ...]:
    """The tenants; faults are added to the report. `listened`: the configured listeners."""
    warn_of_sections(file, (TENANT,), report)
    tenants = []
    owners: dict[str, str] = {}
    for section, name in named_sections(file, TENANT, TENANT_NAME, report):
        tenant = Tenant(name=name, **read_section(file, section, Tenant, report))
        for endpoint in tenant.listeners:
            if endpoint not in listened:
                report.faults.append(file.fault(section, "listeners", f"smtp.ini does not listen on {endpoint}"))
        for key, claimed in (("users", tenant.users), ("listeners", map(str, tenant.listeners))):
            for taken, owner in _claim(claimed, name, owners):
                message = f"{quoted(taken)} already belongs to [{TENANT}{owner}]"
                report.faults.append(file.fault(section, key, message))
        tenants.append(tenant)
    return tuple(tenants)


def _claim(claimed: Iterable[str], name: str, owners: dict[str, str]) -> Iterable[tuple[str, str]]:
    """Values that another tenant already has, with that tenant."""
    for one in claimed:
        owner = owners.setdefault(one, name)
        if owner != name:
            yield one, owner
