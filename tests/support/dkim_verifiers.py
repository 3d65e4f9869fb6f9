"""DKIM verifiers that nobody here wrote, as `tests/interop/setup` installs them.

Each is given mails and the keys that are published, and says of every mail how it judges each signature, from the top:
`pass`, or another word.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path

from tests.support import programs
from tests.support.dkim import verified

from mailboat.dkim.keys import SigningKey

_INTEROP = Path(__file__).resolve().parents[1] / "interop"
_RESULT = re.compile(r"\bdkim=(\w+)")


async def dkimpy(mails: Sequence[bytes], keys: Sequence[SigningKey]) -> list[list[str]]:
    """Python."""
    return [["pass" if passes else "fail" for passes in verified(mail, *keys)] for mail in mails]


async def mailauth(mails: Sequence[bytes], keys: Sequence[SigningKey]) -> list[list[str]]:
    """JavaScript."""
    assert (_INTEROP / "mailauth" / "node_modules").is_dir(), "mailauth is missing: run tests/interop/setup"
    return await _asked([programs.find("node"), str(_INTEROP / "mailauth" / "verify.js")], mails, keys)


async def go_msgauth(mails: Sequence[bytes], keys: Sequence[SigningKey]) -> list[list[str]]:
    """Go."""
    program = _INTEROP / "msgauth" / "build" / "verify"
    assert program.exists(), "go-msgauth is missing: run tests/interop/setup"
    return await _asked([str(program)], mails, keys)


async def opendkim(mails: Sequence[bytes], keys: Sequence[SigningKey], directory: Path) -> list[list[str]]:
    """C. `directory` is for its files."""
    published = directory / "published"
    published.write_text("".join(f"{key.dns_name} {key.record}\n" for key in keys))
    config = directory / "opendkim.conf"
    config.write_text(f"Mode v\nTestPublicKeys {published}\n")
    answers = []
    for mail in mails:
        done = await programs.run(programs.find("opendkim"), "-x", config, "-vv", "-t", "-", stdin=mail)
        answers.append(_RESULT.findall(done.output))
    return answers


async def _asked(command: Sequence[str], mails: Sequence[bytes], keys: Sequence[SigningKey]) -> list[list[str]]:
    """What a program of ours around a verifier prints.

    RFC 5322 2.1 lets the empty line behind the header be left out with the text; both verifiers want it to be there.
    """
    whole = (mail if b"\r\n\r\n" in mail else mail + b"\r\n" for mail in mails)
    encoded = [base64.b64encode(mail).decode() for mail in whole]
    wanted = json.dumps({"mails": encoded, "records": {key.dns_name: key.record for key in keys}})
    done = await programs.run(*command, stdin=wanted.encode())
    assert done.status == 0, done.output
    return list(json.loads(done.output))
