"""Cells of all rounds -> the table and the JSON.

Pure. Called by `bench.compare`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.machine import Machine
from bench.measure import WIRE, Cell
from bench.rows import DKIM, Row

Results = Mapping[Row, Mapping[str, Sequence[Cell]]]
"""Row -> contender -> the cell of each round; a contender that failed has fewer cells."""
_SUBJECT = "Mailboat"
_CHOICES = "sessions | size | TLS | fsync | DKIM"
"""The columns that name a row."""


@dataclass(frozen=True, slots=True)
class Signing:
    """What DKIM signatures cost, by algorithm, and what they leave."""

    costs: Mapping[str, float]
    """CPU seconds of one signature."""
    cores: int

    def words(self) -> str:
        """For people."""
        return ", ".join(f"{algorithm} {cost * 1e3:.2f} ms" for algorithm, cost in self.costs.items())

    def possible(self, unsigned: float, dkim: str) -> float:
        """Messages a second that the cores allow where they allow `unsigned` without DKIM."""
        return 1 / (1 / unsigned + sum(self.costs[algorithm] for algorithm in DKIM[dkim]) / self.cores)


@dataclass(frozen=True, slots=True)
class Median:
    """The middle of some rounds, value by value, and how far the rate strayed."""

    cell: Cell
    lowest: float
    highest: float


def middle(cells: Sequence[Cell]) -> Median:
    """Median of each figure; memory and surplus are the worst of all rounds."""
    rates = [cell.rate for cell in cells]
    syncs = [cell.syncs for cell in cells if cell.syncs is not None]
    cell = Cell(
        messages=round(statistics.median(cell.messages for cell in cells)),
        rate=statistics.median(rates),
        accepted=statistics.median(cell.accepted for cell in cells),
        cpu=statistics.median(cell.cpu for cell in cells),
        memory=max(cell.memory for cell in cells),
        syncs=statistics.median(syncs) if syncs else None,
        surplus=max(cell.surplus for cell in cells),
    )
    return Median(cell, min(rates), max(rates))


def markdown(results: Results, contenders: Sequence[str], signing: Signing) -> str:
    """End-to-end rates with the ratio to the better peer, then every figure of every cell."""
    return "\n".join([*_summary(results, contenders, signing), "", *_details(results)])


def document(
    results: Results, machine: Machine, signing: Signing, versions: Sequence[str], faults: Sequence[str]
) -> dict[str, Any]:
    """All that was measured, for programs."""
    rows = [
        {**asdict(row), "relay": name, "rounds": [asdict(cell) for cell in cells]}
        for row, by_name in results.items()
        for name, cells in by_name.items()
    ]
    about = {"machine": asdict(machine), "signing": dict(signing.costs), "versions": list(versions)}
    return {**about, "faults": list(faults), "cells": rows}


def ratio(medians: Mapping[str, Median]) -> float | None:
    """Mailboat's end-to-end rate over that of the better peer; None without both."""
    peers = [median.cell.rate for name, median in medians.items() if name != WIRE and not _is_mailboat(name)]
    if _SUBJECT not in medians or not peers:
        return None
    return medians[_SUBJECT].cell.rate / max(peers)


def to_earlier(medians: Mapping[str, Median]) -> float | None:
    """Mailboat's end-to-end rate over its own at the commit of `--against`; None without both."""
    earlier = [median.cell.rate for name, median in medians.items() if _is_mailboat(name) and name != _SUBJECT]
    return medians[_SUBJECT].cell.rate / earlier[0] if earlier and _SUBJECT in medians else None


def of_possible(results: Results, row: Row, signing: Signing) -> float | None:
    """Mailboat's rate in a row with DKIM over what is possible; None without its rate in the same row without."""
    rates = [middle(found).cell.rate if (found := results.get(r, {}).get(_SUBJECT)) else 0 for r in (row, row.unsigned)]
    return rates[0] / signing.possible(rates[1], row.dkim) if row.dkim != "off" and all(rates) else None


def _is_mailboat(name: str) -> bool:
    return name.partition(" ")[0] == _SUBJECT


def _summary(results: Results, contenders: Sequence[str], signing: Signing) -> Iterable[str]:
    signed = any(row.dkim != "off" for row in results)
    earlier = [f" to {name.partition(' ')[2]} |" for name in contenders if _is_mailboat(name) and name != _SUBJECT]
    more = [" of possible |"] * signed + earlier
    yield f"| {_CHOICES} | {' | '.join(contenders)} | ratio |{''.join(more)}"
    yield "|---|---|---|---|---|" + "---:|" * (len(contenders) + 1 + len(more))
    for row, by_name in results.items():
        medians = {name: middle(cells) for name, cells in by_name.items() if cells}
        rates = [f"{medians[name].cell.rate:,.0f}" if name in medians else "-" for name in contenders]
        won, gained = ratio(medians), to_earlier(medians)
        last = [_share(of_possible(results, row, signing))] * signed + [_share(gained)] * bool(earlier)
        yield " | ".join([f"| {_words(row)}", *rates, f"{won:.1f}x" if won else "-", *last]) + " |"


def _details(results: Results) -> Iterable[str]:
    figures = "end to end/s | lowest-highest | accepted/s | CPU ms | MiB | syncs | twice"
    yield f"| {_CHOICES} | relay | {figures} |"
    yield "|---|---|---|---|---|---|" + "---:|" * 7
    for row, by_name in results.items():
        for name, cells in by_name.items():
            if cells:
                yield f"| {_words(row)} | {name} | {_figures(middle(cells))} |"


def _figures(median: Median) -> str:
    cell = median.cell
    return " | ".join(
        [
            f"{cell.rate:,.0f}",
            f"{median.lowest:,.0f}-{median.highest:,.0f}",
            f"{cell.accepted:,.0f}",
            f"{cell.cpu * 1e3:.2f}",
            f"{cell.memory / 2**20:.0f}" if cell.memory else "-",
            f"{cell.syncs:.2f}" if cell.syncs is not None else "-",
            str(cell.surplus),
        ]
    )


def _share(part: float | None) -> str:
    return f"{part:.1%}" if part else "-"


def _words(row: Row) -> str:
    disk = "+2 ms" if row.disk == "slow" else "as is"
    return f"{row.sessions} | {row.size.upper().replace('K', ' KiB')} | {row.tls} | {disk} | {row.dkim}"
