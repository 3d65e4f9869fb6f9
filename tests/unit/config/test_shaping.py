"""`shaping.ini`: what it says beside the built-in table, and what is wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.config_directory import Directory

from mailboat.config import ini, providers
from mailboat.config.fault import Report
from mailboat.config.hash import config_hash
from mailboat.config.settings import InetPrefer, OutboundSettings
from mailboat.config.shaping import builtin, read_shaping
from mailboat.config.show import as_data, as_text
from mailboat.shaping.effective import Facts, effective
from mailboat.shaping.limits import Limit, LimitKey
from mailboat.shaping.rules import RuleStage, faults_of, first_match, one_line
from mailboat.shaping.scopes import DEFAULT, Scope, ScopeKind

GOOGLE = Scope(ScopeKind.PROVIDER, "google")
GMAIL = ("gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com")
RCPT = "recipients_per_message"
RULE = "[rule:r]\non=provider:google\nreply[]=421 *\nsample[]=421 x\naction[]=suspend\nfor=1h\n"


def test_without_the_file_the_built_in_table_holds(directory: Directory) -> None:
    settings = directory.settings()
    assert settings.shaping.provider_of("gmail.com", GMAIL) == "google"
    assert settings.shaping.sections[GOOGLE]["messages_per_connection"].value == 50
    assert "shaping.ini" not in as_data(settings)


def test_table_none_leaves_nothing_of_it(directory: Directory) -> None:
    directory.write("shaping.ini", "[main]\ntable=none\n")
    table = directory.settings().shaping
    assert (dict(table.sections), table.providers, table.rules) == ({}, (), ())


@pytest.mark.parametrize(("rules", "names"), [("first-hand", True), ("all", True), ("none", False)])
def test_rules_of_the_built_in_table_are_chosen(directory: Directory, rules: str, names: bool) -> None:
    directory.write("shaping.ini", f"[main]\nrules={rules}\n")
    found = {rule.name for rule in directory.settings().shaping.rules}
    assert ("google-rate-source" in found, "yahoo-deferred" in found) == (names, rules == "all")


def test_the_file_adds_to_sections_of_the_built_in_table_and_takes_back(directory: Directory) -> None:
    directory.write("shaping.ini", "[provider:google]\nmessages_per_connection=unset\ninet=v4\n")
    section = directory.settings().shaping.sections[GOOGLE]
    assert (section["connections"].value, section["inet"].value) == (Limit(10), InetPrefer.V4)
    assert "messages_per_connection" not in section


def test_replace_leaves_nothing_of_a_section(directory: Directory) -> None:
    text = "[provider:google]\nreplace=true\nmx[]=.g.test\nsample_mx[]=a.g.test\n"
    directory.write("shaping.ini", text)
    table = directory.settings().shaping
    assert dict(table.sections[GOOGLE]) == {}
    assert (table.provider_of("", GMAIL), table.provider_of("", ("a.g.test",))) == ("", "google")


def test_replace_alone_removes_a_provider_and_its_rules(directory: Directory) -> None:
    directory.write("shaping.ini", "[provider:google]\nreplace=true\n")
    table = directory.settings().shaping
    assert table.provider_of("", GMAIL) == ""
    assert not [rule.name for rule in table.rules if rule.name.startswith("google")]


@pytest.mark.parametrize(
    ("outbound", "left"),
    [
        ("connection_max_messages=9\n", {"mx.comcast.net": [RCPT, "inet"], GMAIL[0]: []}),
        ("inet_prefer=both\n", {"mx.comcast.net": [RCPT], GMAIL[0]: ["messages_per_connection"]}),
    ],
)
def test_what_outbound_says_explicitly_counts_more_than_the_built_in_table(
    directory: Directory, outbound: str, left: dict[str, list[str]]
) -> None:
    directory.write("outbound.ini", outbound)
    table = directory.settings().shaping
    for host, keys in left.items():
        section = table.sections[Scope(ScopeKind.PROVIDER, table.provider_of("", (host,)))]
        assert [key for key in section if key != "connections"] == keys
    directory.write("shaping.ini", "[provider:google]\nmessages_per_connection=7\ninet=v6\n")
    section = directory.settings().shaping.sections[GOOGLE]
    assert (section["messages_per_connection"].value, section["inet"].value) == (7, InetPrefer.V6)


def test_what_is_not_obeyed_yet_is_said(directory: Directory) -> None:
    directory.write(
        "shaping.ini",
        f"[default]\nconnections=3 per host\nrate=30/1m\ninet=v4\n{RULE}action[]=connections =1\nrecover=x2 every 5m\n",
    )
    assert directory.warnings() == [
        "shaping.ini:2: [default] connections: is checked and shown, but delivery does not obey limits per host yet",
        "shaping.ini:9: [rule:r] action: connections =1: is checked, but delivery does not do it yet",
        "shaping.ini:12: [rule:r] recover: is checked, but no rule has steps back yet",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[default]\nconection=3\n", "2: [default] conection: unknown key in [default]; did you mean connections?"),
        ("[default]\nnet=192.0.2.0/24\n", "2: [default] net: is not obeyed yet: remove it"),
        ("[default]\ntemp_fail_intervals=1s\n", "2: [default] temp_fail_intervals: "),
        ("[domain:d.test]\nwindow=2\n", "2: [domain:d.test] window: is about the hosts that domains share: write it"),
        ("[default]\nwindow=20-2\n", "2: [default] window: is not START-MAX, such as 2-20, or a number"),
        ("[default]\nhelo_timeout=0\n", "2: [default] helo_timeout: is not "),
        (
            "[provder:p]\n",
            "1: [provder:p]: unknown section: is none of provider:NAME, site:NAME, ",
        ),
        ("[default]\nrate=5/1m burst 6\n", "2: [default] rate: has a burst of 6, which is more than the rate's 5"),
        ("[default]\nconnections=0\n", "2: [default] connections: is not a whole number from 1"),
        ("[default @new]\ninet=v4\n", "1: [default @new]: there is no source new: `default` is the one that there is"),
        ("[provider:gogle]\n", "1: [provider:gogle] mx: is missing: a provider needs mx[] or domain[]"),
        (
            "[provider:gogle @default]\n",
            "1: [provider:gogle @default]: there is no provider gogle; did you mean",
        ),
        ("[route:hub]\n", "1: [route:hub]: outbound.ini has no [route:hub]"),
        ("[provider:p]\nmx[]=.p.test\n", "1: [provider:p] sample_mx: is missing: a provider needs the MX hosts"),
        (
            "[provider:p]\nmx[]=.p.test\nsample_mx[]=a.p.test, b.q.test\n",
            "3: [provider:p] sample_mx: a.p.test, b.q.test: not all are in mx",
        ),
        (
            "[provider:p]\nmx[]=.p.test\nsample_mx[]=a.p.test\n[provider:q]\nmx[]=a.p.test\nsample_mx[]=a.p.test\n",
            "2: [provider:p] mx: a.p.test belongs to [provider:q] too",
        ),
        (
            "[provider:p]\nmx[]=.google.com\nsample_mx[]=a.google.com\n",
            "2: [provider:p] mx: .google.com belongs to [provider:google] too",
        ),
        (RULE.replace("421 x", "450 x"), "4: [rule:r] sample: '450 x' matches none of its patterns"),
        (RULE.replace("sample[]=421 x\n", ""), "1: [rule:r] sample: is missing: a rule needs a reply that fires it"),
        (RULE.replace("for=1h\n", ""), "1: [rule:r] for: is missing: how long it holds"),
        (RULE.replace("action[]=suspend\n", ""), "1: [rule:r] action: is missing: write action[]="),
        (RULE.replace("reply[]=421 *\n", ""), "1: [rule:r] reply: is missing: write reply[]="),
        (RULE.replace("provider:google", "provider:x"), "2: [rule:r] on: provider:x: there is no provider x"),
        (
            RULE + RULE.replace("rule:r", "rule:s"),
            "10: [rule:s] sample: '421 x' never fires it, because [rule:r] comes first",
        ),
        (RULE + "regex[]=(.*)*\n", "7: [rule:r] regex: repeats what has a repetition or a choice in it"),
        (RULE + "regex[]=450 .\n", "3: [rule:r] reply: '450 .' matches none of its samples"),
        (RULE + "stage=greet\n", "7: [rule:r] stage: is not one or more of connect, greeting"),
    ],
)
def test_faults_name_the_line_and_what_is_wrong(directory: Directory, text: str, fault: str) -> None:
    directory.write("shaping.ini", text)
    faults = directory.faults()
    assert [line for line in faults if line.startswith(f"shaping.ini:{fault}")], faults


def test_a_rule_may_have_a_regular_expression_alone(directory: Directory) -> None:
    directory.write("shaping.ini", RULE.replace("reply[]=421 *", "regex[]=421 [a-z]"))
    loaded = directory.load().settings
    assert loaded is not None
    (rule, *_) = loaded.shaping.rules
    assert rule.matches(None, "421 X")
    assert not rule.matches(None, "421 xx")


def test_what_outbound_ini_says_of_times_counts_more_than_the_built_in_table_and_less_than_the_file(
    directory: Directory,
) -> None:
    directory.write("shaping.ini", "[default]\nhelo_timeout=5\nwindow=3-9\n[provider:google]\ndot_timeout=7m\n")
    table = directory.settings().shaping
    assert {key: str(said.value) for key, said in table.sections[DEFAULT].items()} == {
        "helo_timeout": "5.0",
        "window": "3-9",
    }
    assert table.sections[GOOGLE]["dot_timeout"].value == 420


def test_a_domain_that_a_provider_lists_is_a_warning(directory: Directory) -> None:
    provider = "[provider:p]\ndomain[]=d.test\n"
    directory.write("shaping.ini", f"{provider}[domain:d.test]\ninet=v4\n")
    (warning,) = directory.warnings()
    assert warning == "shaping.ini:3: [domain:d.test]: belongs to [provider:p], whose limits hold as well"


def test_names_are_compared_without_case_final_dot_or_unicode(directory: Directory) -> None:
    name = "B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.test"
    directory.write("shaping.ini", f"[provider:p]\nmx[]=.MX.{name}.\nsample_mx[]=a.mx.xn--bcher-kva.test.\n")
    assert directory.settings().shaping.provider_of("", ("b.mx.xn--bcher-kva.test",)) == "p"


def test_it_is_shown_as_it_is_written(directory: Directory) -> None:
    text = "[main]\nrules=none\n[provider:p]\nmx[]=.p.test\nmx[]=.q.test\nsample_mx[]=a.p.test\ninet=v4\n"
    directory.write("shaping.ini", text)
    settings = directory.settings()
    assert f"\n# shaping.ini\n{text}" in as_text(settings)
    assert as_data(settings)["shaping.ini"]["provider:p"]["mx"] == [".p.test", ".q.test"]


def test_the_hash_is_of_the_file_too(directory: Directory) -> None:
    directory.write("shaping.ini", "[main]\n")
    assert directory.settings().hash == config_hash(None, None, shaping=b"[main]\n") != config_hash(None, None)


# The built-in table.


def test_each_fact_of_the_built_in_table_has_a_source_and_a_month() -> None:
    file = ini.parse(providers.TABLE, "table")
    assert file.faults == ()
    for section in file.sections:
        notes = providers.about(file, section)
        assert notes, section
        if section.startswith("provider:"):
            named = {key for keys, *_ in notes for key in re.split(", *", keys)}
            assert named == {entry.key for entry in file.of(section)} - {providers.ABOUT, "sample_mx"}, section
        for *_, kind, month, text in notes:
            assert kind in providers.KINDS, section
            assert re.fullmatch(r"20[0-9]{2}-[01][0-9]", month), section
            assert text, section


def test_the_built_in_table_has_no_faults_that_show_once_a_file_adds_a_provider(directory: Directory) -> None:
    """So that its samples and patterns need not be held against each other where a file adds none."""
    directory.write("shaping.ini", "[provider:p]\nmx[]=.p.test\nsample_mx[]=a.p.test\n")
    assert directory.faults() == []


def test_the_built_in_table_changes_nothing_for_others() -> None:
    """No `[default]`, and no `tls`, which a table must not decide."""
    assert {scope.kind for scope in builtin().sections} == {ScopeKind.PROVIDER}
    assert not [scope for scope, section in builtin().sections.items() if "tls" in section]


def test_each_sample_of_the_built_in_table_fires_its_own_rule() -> None:
    rules = builtin().rules
    for rule in rules:
        assert list(faults_of(rule, rules)) == []
        for sample in rule.samples:
            for where in rule.on:
                found = first_match(rules, (where,), min(rule.stages), one_line(sample))
                assert found == (rule, where), sample


def test_rules_of_which_the_provider_says_nothing_are_not_on_by_themselves(directory: Directory) -> None:
    on = {rule.name for rule in directory.settings().shaping.rules}
    assert on == providers.FIRST_HAND
    assert "french-refused" not in on


def test_a_reply_of_several_lines_fires_the_rule_of_its_provider() -> None:
    reply = (
        "421-4.7.28 [192.0.2.1] Our system has detected an unusual rate of\r\n"
        "421-4.7.28 unsolicited mail originating from your IP address. To protect our\r\n"
        "421 4.7.28 users from spam, mail has been temporarily rate limited.\r\n"
    )
    found = first_match(builtin().rules, (GOOGLE,), RuleStage.DOT, one_line(reply))
    assert found is not None
    assert found[0].name == "google-rate-source"


def test_all_limits_of_the_built_in_table_are_for_one_pod_or_more() -> None:
    keys = {key.value for key in LimitKey}
    for section in builtin().sections.values():
        assert all(said.value.each is None for key, said in section.items() if key in keys)


KNOWN_LINES = r"""
[main]|[default]|[provider:p]|[provider:google @default]|[site:a.test]|[domain:.x.test]|[rule:r]|[rule:]|[provider:]
[domain:..]|[route:x]|table=none|rules=all|replace=true|mx[]=.p.test|sample_mx[]=a.p.test|connections=2 per site
rate=9/1m burst 10|rate=unset|inet=v4|tls=required|on=provider:p|stage=dot|reply[]=421 *|reply[]=\x|sample[]=421 x
action[]=suspend|action[]=rate *0.5 floor 1/1m|for=1h, 2h|trigger=2/1m|recover=x2 every 5m
"""
ANY_TEXT = st.text("abc[]=:.@*#/\\ 019\N{LATIN SMALL LETTER E WITH ACUTE}", max_size=20)
LINES = st.lists(st.one_of(st.sampled_from(re.split(r"[|\n]", KNOWN_LINES)), ANY_TEXT), max_size=12)


@given(LINES)
def test_whatever_the_file_says_is_settings_or_faults_with_lines(lines: list[str]) -> None:
    report = Report()
    text = "\n".join(lines)
    file = ini.parse(text, "shaping.ini")
    table = read_shaping(file, ini.parse("", "outbound.ini"), OutboundSettings(), report)
    assert all(fault.file == "shaping.ini" and 0 <= fault.line <= len(lines) for fault in report.faults)
    if not report.faults:
        effective(table, Facts("x.test", ("a.p.test",)), "default")
