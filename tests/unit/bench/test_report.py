"""The bench's table says what the cells say."""

from __future__ import annotations

import pytest
from bench import report
from bench.measure import Cell
from bench.rows import Row, choose

ROW = Row("new", "4k", "off", "plain")
SIGNING = report.Signing({"rsa": 0.001, "ed25519": 0.0001}, cores=2)


def cell(rate: float, *, memory: int = 2**20, syncs: float | None = None, surplus: int = 0) -> Cell:
    return Cell(1000, rate, rate * 2, 1 / rate, memory, syncs, surplus)


def test_the_middle_of_the_rounds_is_shown_with_how_far_they_strayed() -> None:
    median = report.middle([cell(100), cell(300), cell(200)])
    assert (median.cell.rate, median.cell.accepted, median.lowest, median.highest) == (200, 400, 100, 300)


def test_memory_and_duplicates_are_the_worst_of_all_rounds() -> None:
    median = report.middle([cell(1, memory=5, surplus=0), cell(1, memory=9, surplus=3), cell(1, memory=7)])
    assert (median.cell.memory, median.cell.surplus) == (9, 3)


def test_the_ratio_is_to_the_better_peer_and_never_to_the_wire() -> None:
    cells = {"wire": [cell(9000)], "Mailboat": [cell(900)], "Postfix": [cell(300)], "Haraka": [cell(200)]}
    assert report.ratio({name: report.middle(found) for name, found in cells.items()}) == pytest.approx(3)


def test_an_earlier_mailboat_is_no_peer_and_has_a_ratio_of_its_own() -> None:
    cells = {"Mailboat": [cell(900)], "Mailboat abc": [cell(1000)], "Postfix": [cell(300)]}
    assert report.ratio({name: report.middle(found) for name, found in cells.items()}) == pytest.approx(3)
    table = report.markdown({ROW: cells}, list(cells), SIGNING)
    assert "| ratio | to abc |" in table
    assert "| new | 4 KiB | off | as is | off | 900 | 1,000 | 300 | 3.0x | 90.0% |" in table


def test_a_contender_that_failed_leaves_a_gap_and_not_a_figure() -> None:
    table = report.markdown({ROW: {"Mailboat": [cell(900)], "Postfix": []}}, ["Mailboat", "Postfix"], SIGNING)
    assert "| new | 4 KiB | off | as is | off | 900 | - | - |" in table


def test_rows_are_all_combinations_of_what_was_chosen() -> None:
    rows = choose(("new", "reused"), ("4k",), ("off", "on"), ("slow",))
    assert len(set(rows)) == 4
    assert {(row.size, row.disk) for row in rows} == {("4k", "slow")}


def test_rows_with_dkim_are_those_without_tls_on_the_disk_as_it_is() -> None:
    rows = choose(("new",), ("4k",), ("off", "on"), ("plain", "slow"), ("off", "both"))
    assert [row.key for row in rows if row.dkim != "off"] == ["new/4k/tls-off/plain/dkim-both"]
    assert len(rows) == 5


def test_a_row_with_dkim_is_compared_with_what_the_cores_allow_beside_the_signatures() -> None:
    """1,000 messages a second are 2 ms of two cores each, and an RSA signature 1 ms: 667 a second are possible."""
    signed = Row("new", "4k", "off", "plain", "rsa")
    results = {ROW: {"Mailboat": [cell(1000)]}, signed: {"Mailboat": [cell(600)], "Postfix": [cell(200)]}}
    assert report.of_possible(results, signed, SIGNING) == pytest.approx(0.9)
    assert report.of_possible(results, ROW, SIGNING) is None
    assert report.of_possible({signed: results[signed]}, signed, SIGNING) is None
    table = report.markdown(results, ["Mailboat", "Postfix"], SIGNING)
    assert "| new | 4 KiB | off | as is | rsa | 600 | 200 | 3.0x | 90.0% |" in table
    assert "| new | 4 KiB | off | as is | off | 1,000 | - | - | - |" in table
