"""The ini syntax: what is read, what is refused with its line, and that what is written reads back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.config import ini


def faults(text: str) -> list[str]:
    return [str(fault) for fault in ini.parse(text, "x.ini").faults]


def values(text: str) -> dict[str, dict[str, str | list[str]]]:
    file = ini.parse(text, "x.ini")
    assert file.faults == ()
    return file.as_dict()


def test_keys_before_any_section_are_in_main() -> None:
    assert values("a=1\n[other]\na=2\n[main]\nb=3\n") == {"main": {"a": "1", "b": "3"}, "other": {"a": "2"}}


def test_comments_and_blank_lines_say_nothing() -> None:
    assert values("; a=1\n  # b=2\n\n \t\nc=3\n") == {"main": {"c": "3"}}


def test_there_are_no_comments_behind_a_value() -> None:
    assert values("a=1 ; no comment # either") == {"main": {"a": "1 ; no comment # either"}}


def test_a_number_stays_the_text_that_it_was() -> None:
    assert values("password=0123\nfloat=1.50\n") == {"main": {"password": "0123", "float": "1.50"}}


def test_blanks_around_keys_values_and_sections_are_dropped() -> None:
    assert values(" [ a b ] \n\tkey \t= va lue \t\n") == {"a b": {"key": "va lue"}}


def test_a_value_may_hold_equals_signs_and_be_empty() -> None:
    assert values("a==b=c\nb=\n") == {"main": {"a": "=b=c", "b": ""}}


def test_a_repeated_list_key_makes_a_list() -> None:
    assert values("h[]=a\nother=1\nh[]=b\n") == {"main": {"h": ["a", "b"], "other": "1"}}


def test_a_backslash_joins_the_next_line() -> None:
    file = ini.parse("a=1, \\\n   2, \\  \n3\nb=x\n", "x.ini")
    assert file.as_dict() == {"main": {"a": "1,    2, 3", "b": "x"}}
    assert [entry.line for entry in file.entries] == [1, 4]


@pytest.mark.parametrize("next_line", ["", "; comment", "[section]"])
def test_a_backslash_with_nothing_to_join_is_a_fault(next_line: str) -> None:
    assert faults(f"ok=1\na=1\\\n{next_line}\nb=2\n") == ["x.ini:2: the line ends in a backslash, but no line follows"]


def test_a_backslash_at_the_end_of_the_file_is_a_fault() -> None:
    assert faults("a=1\\") == ["x.ini:1: the line ends in a backslash, but the file ends here"]


def test_crlf_line_ends_and_a_byte_order_mark_are_accepted() -> None:
    assert values("\ufeffa=1\r\nb=2\r\n") == {"main": {"a": "1", "b": "2"}}


def test_only_line_feeds_end_lines() -> None:
    """str.splitlines would let U+2028 smuggle a key in."""
    assert values("a=1\u2028b=2\x85c") == {"main": {"a": "1\u2028b=2\x85c"}}


@pytest.mark.parametrize("control", ["\r", "\x00", "\x1b", "\x0b", "\x7f"])
def test_control_characters_are_faults(control: str) -> None:
    assert faults(f"ok=1\na=1{control}2\n") == ["x.ini:2: a control character (a lone CR, a NUL, …) is in this line"]


def test_a_key_given_twice_is_a_fault_that_names_both_lines() -> None:
    assert faults("a=1\n[s]\na=1\n[main]\na=2\n") == ["x.ini:5: [main] a: is given twice: first in line 1"]


def test_a_key_cannot_be_a_value_and_a_list() -> None:
    assert faults("a=1\na[]=2\n") == ["x.ini:2: [main] a: is given twice, once as a list: first in line 1"]


def test_every_fault_is_told_at_once() -> None:
    assert faults("nonsense\n[open\nlost=1\n[]\n[s]\n=v\nk=v\n") == [
        "x.ini:1: the line is neither `key=value` nor `[section]`",
        "x.ini:2: the line is not a `[section]`",
        "x.ini:4: the line is not a `[section]`",
        "x.ini:6: the line is neither `key=value` nor `[section]`",
    ]


def test_keys_below_an_unreadable_section_belong_nowhere() -> None:
    assert ini.parse("a=1\n[broken\na=2\n[s]\nb=3\n", "x.ini").as_dict() == {"main": {"a": "1"}, "s": {"b": "3"}}


def test_a_long_line_is_not_repeated_in_its_fault() -> None:
    (fault,) = faults("x" * 100_000)
    assert len(fault) < 200


def test_a_fault_of_a_missing_key_points_at_its_section() -> None:
    file = ini.parse("a=1\n[s]\nb=1\n", "x.ini")
    assert str(file.fault("s", "c", "is missing")) == "x.ini:2: [s] c: is missing"
    assert str(file.fault("t", "c", "is missing")) == "x.ini: [t] c: is missing"


KEYS = st.from_regex(r"[A-Za-z0-9_@:.+\-/]{1,12}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=30)
VALUES = TEXT.filter(lambda text: text == text.strip() and not text.endswith("\\"))
NAMES = VALUES.filter(lambda name: name and "[" not in name and "]" not in name)


@given(st.dictionaries(NAMES, st.dictionaries(KEYS, VALUES | st.lists(VALUES, min_size=1, max_size=3), max_size=4)))
def test_what_is_written_reads_back_the_same(sections: dict[str, dict[str, str | list[str]]]) -> None:
    assert values(ini.write(sections)) == sections


@given(st.dictionaries(st.text(max_size=8), st.dictionaries(st.text(max_size=8), st.text(max_size=12))))
def test_whatever_cannot_be_written_is_refused_not_changed(sections: dict[str, dict[str, str]]) -> None:
    try:
        text = ini.write(sections)
    except ValueError:
        return
    assert values(text) == sections


@given(st.text(st.sampled_from("a=[]\\\n\r; #\x00é")))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    file = ini.parse(text, "x.ini")
    if not file.faults:
        assert values(ini.write(file.as_dict())) == file.as_dict()


@pytest.mark.parametrize(
    "value",
    ["a\nb=1", "a\rb", "a\x00", " a", "a ", "a\\", "\ud800"],
    ids=["lf", "cr", "nul", "lead", "tail", "bs", "sur"],
)
def test_a_value_that_would_read_back_otherwise_is_refused(value: str) -> None:
    for written in (value, [value]):
        with pytest.raises(ValueError, match="key: "):
            ini.write({"main": {"key": written}})


@pytest.mark.parametrize("key", ["", "a b", "a=b", "[a", "a[]", ";a", "#a", "a\n"])
def test_an_odd_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a key"):
        ini.write({"main": {key: "1"}})


@pytest.mark.parametrize("section", ["", "a]", "[a", " a", "a\n[b", "a\x00"])
def test_an_odd_section_is_refused(section: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a section"):
        ini.write({section: {}})


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ValueError, match="leave the key out"):
        ini.write({"main": {"hosts": []}})


def test_what_a_section_is_asked_for_does_not_go_through_the_entries_of_others() -> None:
    class Counted(str):
        """A section's name that counts how often it is compared."""

        __slots__ = ()
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, other)

    entries = tuple(ini.IniEntry("x.ini", n, Counted(f"route:{n}"), "hosts", "a") for n in range(1000))
    file = ini.IniFile("x.ini", entries)
    Counted.compared = 0
    assert [entry.line for n in range(1000) for entry in file.of(f"route:{n}")] == list(range(1000))
    assert all(file.get(f"route:{n}", "hosts") is entries[n] for n in range(1000))
    assert Counted.compared < 10_000
