"""`tenants.ini`: whose mail it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat.config.hash import config_hash
from mailboat.config.settings import Endpoint, Tenant, tenant_of
from mailboat.config.show import as_data, as_text

if TYPE_CHECKING:
    from tests.support.config_directory import Directory

SHOP = Tenant("shop", users=("shop", "shop-batch"))
HERE, THERE = Endpoint("127.0.0.1", 2525), Endpoint("127.0.0.1", 2526)
PRINTERS = Tenant("printers", listeners=(HERE,))


def test_without_the_file_there_is_no_tenant(directory: Directory) -> None:
    assert directory.settings().tenants == ()


def test_a_section_is_a_tenant(directory: Directory) -> None:
    directory.write(
        "tenants.ini", "[tenant:shop]\nusers=shop, shop-batch, shop\n[tenant:printers]\nlisteners=127.0.0.1:2525\n"
    )
    settings = directory.settings()
    assert settings.tenants == (SHOP, PRINTERS)
    assert as_data(settings)["tenants.ini"]["tenant:shop"] == {
        "users": ["shop", "shop-batch"],
        "listeners": [],
        "may_name": [],
    }
    assert "[tenant:printers]\nusers=\nlisteners=127.0.0.1:2525\nmay_name=\n" in as_text(settings)


def test_the_hash_is_of_the_file_too(directory: Directory) -> None:
    before = directory.settings().hash
    directory.write("tenants.ini", "[tenant:a]\nusers=a\n")
    assert directory.settings().hash == config_hash(None, None, b"[tenant:a]\nusers=a\n") != before


def test_what_is_wrong_is_told_with_its_line(directory: Directory) -> None:
    directory.write(
        "tenants.ini", "[tenant:a b]\nusers=x\n[tenant:c]\nusers=y, x\nlisteners=127.0.0.1:9\nmay_name=d, e f\n"
    )
    assert directory.faults() == [
        "tenants.ini:1: [tenant:a b]: 'a b' is not a tenant's name: letters, digits, `.`, `_` and `-`",
        "tenants.ini:4: [tenant:c] users: 'x' already belongs to [tenant:a b]",
        "tenants.ini:5: [tenant:c] listeners: smtp.ini does not listen on 127.0.0.1:9",
        "tenants.ini:6: [tenant:c] may_name: an item is not a tenant's name: letters, digits, `.`, `_` and `-`",
    ]


def test_the_user_decides_before_the_listener() -> None:
    tenants = (PRINTERS, SHOP)
    assert tenant_of(tenants, "shop-batch", HERE) == "shop"
    assert tenant_of(tenants, "anna", HERE) == "printers"
    assert tenant_of(tenants, None, HERE) == "printers"
    assert tenant_of(tenants, None, THERE) == "default"
    assert tenant_of(tenants, "anna", None) == "default"
