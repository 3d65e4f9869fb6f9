"""What the relay signs, with RSA and with Ed25519, passes four verifiers that nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from tests.support.dkim import add_key, signatures_of
from tests.support.dkim_verifiers import dkimpy, go_msgauth, mailauth, opendkim
from tests.support.plugin_relay import PluginConfig
from tests.support.postfix import Postfix
from tests.support.relay_process import running
from tests.support.scripted_mx import ScriptedMx
from tests.support.smtp_client import Client

from mailboat.dkim.keys import Algorithm, SigningKey
from mailboat.smtp.data import stuff

pytestmark = pytest.mark.interop

HEADER = b"From: Joe <joe@example.com>\r\n"
ORDINARY = {
    "plain": HEADER + b"Subject: hi\r\n\r\nGood day.\r\n",
    "no body": HEADER + b"\r\n",
    "no empty line": HEADER + b"Subject: hi\r\n",
    "blanks only": HEADER + b"\r\n \t\r\n\t\r\n\r\n",
    "trailing lines": HEADER + b"\r\na  b \t\r\n" + b"\r\n" * 5000,
    "8 bit": HEADER + b"Subject: \xc3\xbc\r\n\r\n\xfc\xff \x80\r\n",
    "Latin-1": HEADER + b"Subject: \xfc\xff\r\nTo: \xe9 <a@b.example>\r\n\r\nhi\r\n",
    "folded": HEADER + b"Subject: a\r\n  b\r\n\tc \r\nTo: a@b.example,\r\n  c@d.example\r\n\r\nhi\r\n",
    "two hundred folds": HEADER + b"Subject: a" + b"\r\n\t x  " * 200 + b"\r\n\r\nhi\r\n",
    "empty fields": HEADER + b"Subject:\r\nReply-To:  \t \r\nCc:\r\n\r\nhi\r\n",
    "two subjects": HEADER + b"Subject: a\r\nSUBJECT: b\r\n\r\nhi\r\n",
    "large header": HEADER + b"Subject: " + b"\r\n y".join([b"z" * 70] * 800) + b"\r\n\r\nhi\r\n",
    "dots": HEADER + b"\r\n.\r\n..\r\n...a\r\n.b\r\n",
    "resent": b"Resent-From: a@b.example\r\nResent-To: c@d.example\r\n" * 2 + HEADER + b"\r\nhi\r\n",
    "list": HEADER + b"List-Unsubscribe: <https://a.example>\r\nList-Unsubscribe-Post: x\r\n\r\nhi\r\n",
    "in a file": HEADER + b"\r\n" + b"\ta  line of text \r\n" * 40_000,
    "bare line ends": HEADER + b"Subject: a\n b\r\n\r\na \nb\r\rc\n\r\nd\n\n",
}
"""Which Postfix passes on as they are."""
TORTURE = ORDINARY | {
    "NUL": HEADER + b"\r\na\0b\r\n",
    "line of 5,000 octets": HEADER + b"\r\n" + b"x " * 2500 + b"\r\n",
    "out of an mbox file": b"From joe Mon Nov 23 01:02:03 2026\r\n" + HEADER + b"\r\nhi\r\n",
    "no field": HEADER + b"X-Mailer PHP/5.2\r\nSubject: hi\r\n\r\nhi\r\n",
    "signed by others": b"DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=x; h=From; bh=AA==; b=AA==\r\n"
    + HEADER
    + b"\r\n",
}

UNREADABLE = {"dkimpy": ["no field"], "mailauth": [], "go-msgauth": [], "OpenDKIM": ["no field", "NUL"]}
"""Mails that a verifier cannot read, whoever signs them."""


@pytest.fixture
def config(tmp_path: Path, sink: ScriptedMx) -> PluginConfig:
    """A configuration directory without keys, for a relay that mends bare line ends."""
    return PluginConfig(tmp_path / "config", sink.port, smtp=["bare_newline=normalize"])


async def relayed(config: PluginConfig, sink: ScriptedMx, mails: Sequence[bytes]) -> list[bytes]:
    """What the sink has of these mails, octet for octet as they are submitted."""
    async with running(config) as relay:
        client = await Client.connect(config.smtp_port)
        await client.reply(enhanced=False)
        await client.ehlo()
        for count, mail in enumerate(mails, 1):
            assert (await client.mail(stuff(mail))).startswith("250 ")
            await relay.event("delivered", count)
            await sink.wait_for(lambda _: len(sink.mails) == count)  # noqa: B023 - is called here only
        await client.quit()
    return [mail.body for mail in sink.mails]


async def verdicts(mails: Sequence[bytes], keys: Sequence[SigningKey], directory: Path) -> dict[str, list[list[str]]]:
    """What each verifier says of our two signatures of each mail."""
    answers = {
        "dkimpy": await dkimpy(mails, keys),
        "mailauth": await mailauth(mails, keys),
        "go-msgauth": await go_msgauth(mails, keys),
        "OpenDKIM": await opendkim(mails, keys, directory),
    }
    return {name: [results[:2] for results in answer] for name, answer in answers.items()}


async def fails(
    names: Iterable[str], mails: Sequence[bytes], keys: Sequence[SigningKey], directory: Path
) -> list[tuple[str, str, list[str]]]:
    """Which verifier does not pass which mail, and what it says; but for those that it cannot read."""
    return [
        (verifier, name, results)
        for verifier, answer in (await verdicts(mails, keys, directory)).items()
        for name, results in zip(names, answer, strict=True)
        if results != ["pass", "pass"] and name not in UNREADABLE[verifier]
    ]


async def test_every_odd_mail_passes_every_verifier(config: PluginConfig, sink: ScriptedMx, tmp_path: Path) -> None:
    keys = [add_key(config, algorithm) for algorithm in Algorithm]
    mails = await relayed(config, sink, list(TORTURE.values()))
    ours = [[tags["a"] for tags in signatures_of(mail)[:2]] for mail in mails]
    assert ours == [["rsa-sha256", "ed25519-sha256"]] * len(TORTURE)
    assert await fails(TORTURE, mails, keys, tmp_path) == []


async def test_every_mail_still_passes_behind_a_real_postfix(
    config: PluginConfig, sink: ScriptedMx, tmp_path: Path
) -> None:
    keys = [add_key(config, algorithm) for algorithm in Algorithm]
    async with Postfix.start(sink.port) as postfix:
        config.sink_port = postfix.port
        config.write()
        mails = await relayed(config, sink, list(ORDINARY.values()))
    assert all(b"by postfix.test (Postfix)" in mail for mail in mails)
    assert await fails(ORDINARY, mails, keys, tmp_path) == []


async def test_a_blank_before_the_colon_is_no_part_of_the_name(
    config: PluginConfig, sink: ScriptedMx, tmp_path: Path
) -> None:
    """RFC 6376 3.4.2. dkimpy takes the blank for part of the name, and finds no such field."""
    keys = [add_key(config, algorithm) for algorithm in Algorithm]
    mails = await relayed(config, sink, [HEADER + b"Subject : b\r\n\r\nhi\r\n"])
    said = await verdicts(mails, keys, tmp_path)
    assert said.pop("dkimpy") == [["fail", "fail"]]
    assert list(said.values()) == [[["pass", "pass"]]] * 3


async def test_a_mail_that_was_changed_passes_none(config: PluginConfig, sink: ScriptedMx, tmp_path: Path) -> None:
    keys = [add_key(config, algorithm) for algorithm in Algorithm]
    (mail,) = await relayed(config, sink, [TORTURE["plain"]])
    changed = [b"Subject: another\r\n" + mail, mail.replace(b"Good", b"Bad")]
    for verifier, answer in (await verdicts(changed, keys, tmp_path)).items():
        assert [len(results) for results in answer] == [2, 2]
        assert not any("pass" in results for results in answer), verifier
