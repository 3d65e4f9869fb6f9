"""What the relay signs passes two verifiers that nobody here wrote, dkimpy and mailauth, for both algorithms."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support import programs
from tests.support.dkim import add_key, signatures_of, verified
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import running
from tests.support.scripted_mx import ScriptedMx

from mailboat.dkim.keys import Algorithm, SigningKey

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).parent / "mailauth" / "verify.js"
HEADER = b"From: Joe <joe@example.com>\r\n"
TORTURE = {
    "plain": HEADER + b"Subject: hi\r\n\r\nGood day.\r\n",
    "no body": HEADER + b"\r\n",
    "blanks only": HEADER + b"\r\n \t\r\n\t\r\n\r\n",
    "trailing lines": HEADER + b"\r\na  b \t\r\n" + b"\r\n" * 5000,
    "8 bit": HEADER + b"Subject: \xc3\xbc\r\n\r\n\xfc\xff \x80\r\n",
    "folded": HEADER + b"Subject: a\r\n  b\r\n\tc \r\nTo: a@b.example,\r\n  c@d.example\r\n\r\nhi\r\n",
    "two subjects": HEADER + b"Subject: a\r\nSUBJECT: b\r\nReply-To:\r\n\r\nhi\r\n",
    "large header": HEADER + b"Subject: " + b"\r\n y".join([b"z" * 70] * 800) + b"\r\n\r\nhi\r\n",
    "dots": HEADER + b"\r\n.\r\n..\r\n...a\r\n.b\r\n",
    "NUL": HEADER + b"\r\na\0b\r\n",
    "list": HEADER + b"List-Unsubscribe: <https://a.example>\r\nList-Unsubscribe-Post: x\r\n\r\nhi\r\n",
    "in a file": HEADER + b"\r\n" + b"\ta  line of text \r\n" * 40_000,
}


@pytest.fixture
def config(tmp_path: Path, sink: ScriptedMx) -> PluginConfig:
    """A configuration directory without keys."""
    return PluginConfig(tmp_path / "config", sink.port)


async def mailauth(mails: Sequence[bytes], keys: Sequence[SigningKey]) -> list[list[str]]:
    """What it says of each signature of each mail, where these keys are published."""
    assert (SCRIPT.parent / "node_modules").is_dir(), "mailauth is missing: run tests/interop/setup"
    encoded = [base64.b64encode(mail).decode() for mail in mails]
    wanted = json.dumps({"mails": encoded, "records": {key.dns_name: key.record for key in keys}})
    done = await programs.run(programs.find("node"), SCRIPT, stdin=wanted.encode())
    assert done.status == 0, done.output
    return list(json.loads(done.output))


async def test_every_odd_mail_verifies_with_both_algorithms(config: PluginConfig, sink: ScriptedMx) -> None:
    keys = [add_key(config, algorithm) for algorithm in Algorithm]
    async with running(config) as relay:
        for count, mail in enumerate(TORTURE.values(), 1):
            await relay.submit(body=mail)
            await relay.event("delivered", count)
    mails = [mail.body for mail in sink.mails]
    assert len(mails) == len(TORTURE)
    both = [[tags["a"] for tags in signatures_of(mail)] for mail in mails]
    assert both == [["rsa-sha256", "ed25519-sha256"]] * len(mails)
    judged = await mailauth(mails, keys)
    for name, mail, results in zip(TORTURE, mails, judged, strict=True):
        assert (verified(mail, *keys), results) == ([True, True], ["pass", "pass"]), name


async def test_a_blank_before_the_colon_is_no_part_of_the_name(config: PluginConfig, sink: ScriptedMx) -> None:
    """RFC 6376 3.4.2. Judged by mailauth only: dkimpy takes the blank for part of the name, and finds no such field."""
    keys = [add_key(config, algorithm) for algorithm in Algorithm]
    async with running(config) as relay:
        await relay.submit(body=HEADER + b"Subject : b\r\n\r\nhi\r\n")
        await relay.event("delivered")
    assert await mailauth([sink.mails[0].body], keys) == [["pass", "pass"]]


async def test_a_mail_that_was_changed_passes_neither(config: PluginConfig, sink: ScriptedMx) -> None:
    keys = [add_key(config, algorithm) for algorithm in Algorithm]
    async with running(config) as relay:
        await relay.submit(body=TORTURE["plain"])
        await relay.event("delivered")
    changed = [b"Subject: another\r\n" + sink.mails[0].body, sink.mails[0].body.replace(b"Good", b"Bad")]
    assert [verified(mail, *keys) for mail in changed] == [[False, False]] * 2
    assert not any("pass" in results for results in await mailauth(changed, keys))
