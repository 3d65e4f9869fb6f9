"""Tables of limits from the text of shaping.ini."""

from __future__ import annotations

from mailboat.config import ini
from mailboat.config.fault import Report
from mailboat.config.settings import OutboundSettings
from mailboat.config.shaping import FILE, read_shaping
from mailboat.shaping.table import LimitTable


def shaping_table(text: str = "", *, outbound: OutboundSettings | None = None) -> LimitTable:
    """The table in force with this shaping.ini, which has no faults. `outbound`: for the routes that it names."""
    report = Report()
    given = ini.parse(text, FILE)
    table = read_shaping(given, ini.parse("", "outbound.ini"), outbound or OutboundSettings(), report)
    assert not given.faults
    assert not report.faults, [str(fault) for fault in report.faults]
    return table
