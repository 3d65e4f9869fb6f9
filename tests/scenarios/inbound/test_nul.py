"""NUL octets in a message: passed on, stripped or refused, and counted in any case."""

from __future__ import annotations

import pytest
from tests.support.ingress import serving
from tests.support.smtp_client import TEXT

from mailboat.config.settings import Nul
from mailboat.metrics.recorder import Recorder
from mailboat.model.observer import RejectReason

SMALL, LARGE = b"", b"x" * 998 + b"\r\n"


def counted(actions: list[str]) -> dict[str, float]:
    recorder = Recorder()
    for action in actions:
        recorder.nul_found(action)
    return recorder.snapshot()["counters"]["mailboat_nul_messages_total"]


@pytest.mark.parametrize("lines", [0, 400], ids=["in-memory", "in-a-file"])
@pytest.mark.parametrize("nul", list(Nul))
async def test_a_nul_is_passed_stripped_or_refused(nul: Nul, lines: int) -> None:
    text = TEXT + LARGE * lines + b"a\0b\r\n\0.\r\n\0\0\r\n"
    async with serving(nul=nul) as rig:
        client = await rig.greeted()
        said = await client.mail(text)
        assert (await client.mail()).startswith("250 ")
        await client.quit()
        mails = await rig.mails()
        if nul is Nul.REFUSE:
            assert said == "550 5.6.0 Message holds a NUL octet"
            assert rig.facts.reasons == [RejectReason.NUL]
            assert len(mails) == 1
        else:
            assert said.startswith("250 ")
            assert mails[0].body.endswith(text if nul is Nul.PASS else text.replace(b"\0", b""))
        assert rig.facts.nuls == [nul]
        assert counted(rig.facts.nuls) == {action: float(action is nul) for action in Nul}
