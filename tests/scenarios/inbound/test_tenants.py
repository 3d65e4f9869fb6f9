"""Whose mail it is, and what it is labelled with, goes with the message into the queue and its event."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.ingress import serving
from tests.support.plugins import chain, loaded
from tests.support.smtp_client import TEXT

from mailboat.config.settings import Tenant
from mailboat.hooks import Connection, Point

SHOP = Tenant("shop", users=("anna@example.com",))
USERS = "[core]\nmethods=PLAIN\n[users]\nanna@example.com=sesame\n"
AUTH = "AUTH PLAIN " + base64.b64encode(b"\0anna@example.com\0sesame").decode()


async def test_mail_of_a_user_belongs_to_the_users_tenant(tmp_path: Path) -> None:
    (tmp_path / "auth_flat_file.ini").write_text(USERS)
    async with serving(hooks=loaded(tmp_path, "auth_flat_file"), tenants=(SHOP,)) as rig:
        client = await rig.greeted()
        await client.mail(TEXT)
        assert (await client.ask(AUTH)).startswith("235 ")
        await client.mail(TEXT, sender="anna@example.com")
        await client.quit()
        assert [mail.entry.message.tenant for mail in await rig.mails()] == ["default", "shop"]
        assert [fact.message.tenant for fact in rig.facts.mails] == ["default", "shop"]


async def test_mail_belongs_to_the_tenant_of_the_listener_that_it_came_by() -> None:
    async with serving() as rig:
        (endpoint,) = rig.context.settings.smtp.listen
        rig.context.settings = replace(rig.context.settings, tenants=(Tenant("printers", listeners=(endpoint,)), SHOP))
        client = await rig.greeted()
        await client.mail(TEXT)
        await client.quit()
        assert [mail.entry.message.tenant for mail in await rig.mails()] == ["printers"]


SENDERS = Tenant("senders", users=("anna@example.com",), may_name=("shop", "billing"))


@pytest.mark.parametrize(
    ("field", "tenant"),
    [
        (b"X-Mailboat-Tenant: billing\r\n", "billing"),
        (b"x-mailboat-tenant :\r\n\tshop \r\nX-Mailboat-Tenant: billing\r\n", "shop"),
        (b"X-Mailboat-Tenant: other\r\n", "senders"),
        (b"X-Mailboat-Tenant:\r\n", "senders"),
        (b"X-Mailboat-Tenant: \xff\r\n", "senders"),
    ],
)
@pytest.mark.parametrize("size", [1, 400_000])
async def test_the_header_names_a_tenant_that_the_client_may_name_and_the_field_is_taken_out(
    tmp_path: Path, field: bytes, tenant: str, size: int
) -> None:
    (tmp_path / "auth_flat_file.ini").write_text(USERS)
    async with serving(hooks=loaded(tmp_path, "auth_flat_file"), tenants=(SENDERS,)) as rig:
        client = await rig.greeted()
        text = b"Subject: a\r\n%bTo: b\r\n\r\n" % field + b"line\r\n" * (size // 6 + 1)
        await client.mail(text)
        assert (await client.ask(AUTH)).startswith("235 ")
        await client.mail(text, sender="anna@example.com")
        await client.quit()
        stranger, mail = await rig.mails()
        assert (stranger.entry.message.tenant, mail.entry.message.tenant) == ("default", tenant)
        for one in (stranger, mail):
            assert b"ailboat-tenant" not in one.body.lower()
            assert b"Subject: a\r\nTo: b\r\n\r\n" in one.body


async def test_what_a_plugin_says_goes_before_the_header() -> None:
    def at_mail(connection: Connection, *_: object) -> None:
        assert connection.transaction is not None
        connection.transaction.tenant = "marketing"

    anybody = Tenant("default", may_name=("shop",))
    async with serving(hooks=chain({Point.MAIL: at_mail}), tenants=(anybody,)) as rig:
        client = await rig.greeted()
        await client.mail(b"X-Mailboat-Tenant: shop\r\n" + TEXT)
        await client.quit()
        assert [mail.entry.message.tenant for mail in await rig.mails()] == ["marketing"]


async def test_without_tenants_the_header_stays_as_it_is() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.mail(b"X-Mailboat-Tenant: shop\r\n" + TEXT)
        await client.quit()
        [mail] = await rig.mails()
        assert b"X-Mailboat-Tenant: shop\r\n" in mail.body
        assert mail.entry.message.tenant == "default"


async def test_a_plugin_labels_a_message_by_its_header_and_may_say_whose_it_is() -> None:
    def by_header(connection: Connection) -> None:
        transaction = connection.transaction
        assert transaction is not None
        transaction.labels.update((transaction.header.get("X-Campaign") or "").split())
        transaction.tenant = "marketing"

    async with serving(hooks=chain({Point.DATA_POST: by_header}), tenants=(SHOP,)) as rig:
        client = await rig.greeted()
        await client.mail(b"X-Campaign: weekly news\r\n" + TEXT)
        await client.quit()
        [mail] = await rig.mails()
        assert (mail.entry.message.tenant, mail.entry.message.labels) == ("marketing", ("news", "weekly"))


async def test_what_cannot_be_a_tenant_or_a_label_is_left_out_and_the_mail_is_taken() -> None:
    def careless(connection: Connection) -> None:
        transaction = connection.transaction
        assert transaction is not None
        transaction.tenant = "no\nname"
        transaction.labels.update({"", "a\nb", "x" * 65, 5, "good", *(f"n{number:02}" for number in range(20))})  # type: ignore[arg-type]

    async with serving(hooks=chain({Point.DATA_POST: careless}), tenants=(SHOP,)) as rig:
        client = await rig.greeted()
        await client.mail(TEXT)
        await client.quit()
        [mail] = await rig.mails()
        assert mail.entry.message.tenant == "default"
        assert mail.entry.message.labels == ("good", *(f"n{number:02}" for number in range(15)))
