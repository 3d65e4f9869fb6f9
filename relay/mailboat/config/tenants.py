"""`tenants.ini`: a section a tenant. Called by `load`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mailboat.config.fault import Fault, Report
from mailboat.config.ini import IniFile
from mailboat.config.sections import read_section, warn_of_sections
from mailboat.config.settings import Endpoint, Tenant
from mailboat.config.text import quoted
from mailboat.model.envelope import TENANT_NAME

TENANT = "tenant:"


def read_tenants(file: IniFile, listened: Collection[Endpoint], report: Report) -> tuple[Tenant, ...]:
    """The tenants; what is wrong goes into the report. `listened`: what clients can come in by."""
    warn_of_sections(file, (TENANT,), report)
    tenants = []
    owners: dict[str, str] = {}
    for section, line in file.sections.items():
        if not section.startswith(TENANT):
            continue
        name = section.removeprefix(TENANT)
        if not TENANT_NAME.fullmatch(name):
            message = f"{quoted(name)} is not a tenant's name: letters, digits, `.`, `_` and `-`"
            report.faults.append(Fault(file.file, line, section, "", message))
        tenant = Tenant(name=name, **read_section(file, section, Tenant, report))
        for endpoint in tenant.listeners:
            if endpoint not in listened:
                report.faults.append(file.fault(section, "listeners", f"smtp.ini does not listen on {endpoint}"))
        for key, claimed in (("users", tenant.users), ("listeners", map(str, tenant.listeners))):
            for taken, owner in _claim(claimed, name, owners):
                message = f"{quoted(taken)} belongs to [{TENANT}{owner}] already"
                report.faults.append(file.fault(section, key, message))
        tenants.append(tenant)
    return tuple(tenants)


def _claim(claimed: Iterable[str], name: str, owners: dict[str, str]) -> Iterable[tuple[str, str]]:
    """Those that another tenant has, and which."""
    for one in claimed:
        owner = owners.setdefault(one, name)
        if owner != name:
            yield one, owner
