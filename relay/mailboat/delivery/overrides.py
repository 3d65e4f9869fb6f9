"""Rules from replies in a worker: what overrides hold for mail, and which replies of hosts are told to the owner. Pure.

The owner (`shaping.overrides`) counts the matches of all workers and says which overrides are in force. Asked by `gate`
before a start, and told by `walk` of the replies of hosts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from mailboat.delivery.gate import PutOff
from mailboat.delivery.rule_actions import Fired
from mailboat.delivery.source import source_name
from mailboat.delivery.terms import facts_at
from mailboat.delivery.verdict import FaultKind, Transcript, Trouble
from mailboat.model.clock import Clock
from mailboat.model.envelope import Entry
from mailboat.model.outcome import Stage
from mailboat.model.reply import Reply
from mailboat.routing.answers import Site
from mailboat.shaping.effective import ANY_SOURCE, scopes
from mailboat.shaping.mail_selection import MailSelection
from mailboat.shaping.overrides import Override, OverridePlace, RuleMatch
from mailboat.shaping.rules import ActionKind, Rule, RulePer, RuleStage, first_match, one_line
from mailboat.shaping.scopes import Scope, ScopeKind
from mailboat.shaping.suspension import selection_of
from mailboat.shaping.table import LimitTable

REMEMBERED = 10_000
"""Queues of which it is known what is said about them."""
_STAGES = {Stage(stage.value): stage for stage in RuleStage}
_FAULTS = frozenset({FaultKind.CONNECT, FaultKind.TIMEOUT, FaultKind.CLOSED, FaultKind.PROTOCOL})
"""Those of a host, not of this relay or its configuration."""


class _Subject:
    """What is known of the mail of one queue."""

    __slots__ = ("facts", "places", "provider", "scopes", "source")

    def __init__(self, table: LimitTable, entry: Entry, site: Site) -> None:
        self.facts, self.source = facts_at(entry, site.key)
        self.provider = "" if self.facts.route else table.provider_of(self.facts.domain, self.facts.hosts)
        self.scopes: tuple[Scope, ...] = tuple(reversed(list(scopes(self.facts, self.provider))))
        """The most specific first."""
        self.places = frozenset(
            OverridePlace(str(scope), part, by)
            for scope in self.scopes
            for part in ("", self.facts.site, self.facts.domain)
            for by in (self.source, ANY_SOURCE)
        )
        """Where an override holds for it."""

    def is_selected(self, selection: MailSelection, entry: Entry) -> bool:
        """Whether an entry of this queue is selected."""
        return selection.fits(entry, self.source, self.facts, self.provider)

    def is_all_of(self, one: Override, selection: MailSelection | None) -> bool:
        """Whether an override holds for all mail that may use the same connection."""
        if selection is None:
            return one.place in self.places
        return selection.fits_all(self.source, self.facts, self.provider)

    def sections(self) -> Iterable[Scope]:
        """The sections of a rule's `on` that look at it, the most specific first."""
        for scope in self.scopes:
            yield Scope(scope.kind, scope.name, self.source)
            yield scope

    def place(self, rule: Rule, on: Scope | None) -> OverridePlace | None:
        """Where a rule counts a match, and acts; None: nowhere but at this entry."""
        per = rule.per
        if per & {RulePer.ENTRY, RulePer.TENANT}:
            return None
        scope, part = str((on or Scope(ScopeKind.DEFAULT)).of_any_source), ""
        if RulePer.DOMAIN in per:
            part = self.facts.domain or self.facts.site
        elif RulePer.SITE in per or (on is None and not (RulePer.PROVIDER in per and self.provider)):
            part = self.facts.site
        elif RulePer.PROVIDER in per and self.provider:
            scope = str(Scope(ScopeKind.PROVIDER, self.provider))
        by = self.source if not per or RulePer.SOURCE in per or (on is not None and on.source) else ANY_SOURCE
        return OverridePlace(scope, part, by)


class WorkerOverrides:
    """Rules and overrides in one worker."""

    def __init__(self, clock: Clock, say: Callable[[RuleMatch], None]) -> None:
        """`say` tells the owner of a match."""
        self._clock = clock
        self._say = say
        self._table = LimitTable()
        self._now: Sequence[Override] = ()
        self._selections: dict[str, MailSelection] = {}
        """Of those that an administrator has put into force, by their ids."""
        self._subjects: OrderedDict[tuple[str, str, str], _Subject] = OrderedDict()
        self.changed: Callable[[], None] = lambda: None
        """Called when other overrides are in force."""
        self.alert: Callable[[Rule, str], None] = lambda _rule, _reply: None
        """Called for a reply that fires a rule with `alert`."""

    @property
    def has_rules(self) -> bool:
        """Whether replies have to be looked at."""
        return bool(self._table.rules)

    def configure(self, table: LimitTable) -> None:
        """Take new rules."""
        self._table = table
        self._subjects.clear()

    def told(self, overrides: Sequence[Override]) -> None:
        """These are in force, and no others."""
        self._now = overrides
        selections = ((one.id, selection_of(one)) for one in overrides)
        self._selections = {id_: selection for id_, selection in selections if selection is not None}
        self.changed()

    def is_suspended(self, subject: Hashable) -> bool:
        """Whether mail of a subject is suspended; as long as anything is, also what nothing is known of."""
        suspended = [one for one in self._now if one.kind == ActionKind.SUSPEND]
        if not isinstance(subject, _Subject):
            return bool(suspended)
        return any(subject.is_all_of(one, self._selections.get(one.id)) for one in suspended)

    def subject(self, entry: Entry, site: Site) -> Hashable:
        """What a connection is known by that such mail has used."""
        return self._subject(entry, site)

    @property
    def in_force(self) -> Sequence[Override]:
        """As the owner told."""
        return self._now

    def held(self, entry: Entry, site: Site, now: float) -> PutOff | None:
        """Until when mail is not attempted, and why; `now` is monotonic. None: nothing is in its way."""
        wall = self._clock.now()
        subject: _Subject | None = None
        longest: Override | None = None
        for one in self._now:
            if one.kind != ActionKind.SUSPEND or one.until <= wall:
                continue
            subject = subject or self._subject(entry, site)
            selection = self._selections.get(one.id)
            concerns = one.place in subject.places if selection is None else subject.is_selected(selection, entry)
            if concerns and (longest is None or one.until > longest.until):
                longest = one
        if longest is None:
            return None
        at = datetime.fromtimestamp(longest.until, UTC).strftime("%H:%M")
        said = f"suspended until {at} by {longest.why}: {longest.reason}"
        by_rule = longest.id not in self._selections
        until = now + longest.until - wall
        return PutOff(until, _trouble(longest.reason), said=said, held_by=longest.why, restarts=by_rule)

    def holding(self, entry: Entry) -> Override | None:
        """What has put an entry off that waits; None: nothing that is in force still."""
        if not entry.last_reply.startswith("suspended until "):
            return None
        wall = self._clock.now()
        return next((o for o in self._now if o.until > wall and f" by {o.why}: " in entry.last_reply), None)

    def heard(self, entry: Entry, site: Site, trouble: Trouble, began: float) -> Rule | None:
        """A host answered, or failed before it greeted; returns the rule that this fires. `began` is monotonic."""
        if trouble.reply is not None:
            stage, reply = _STAGES.get(trouble.stage), one_line(str(trouble.reply))
        elif trouble.kind in _FAULTS and trouble.stage in (Stage.CONNECT, Stage.GREETING):
            stage, reply = RuleStage.CONNECT, trouble.text
        else:
            return None
        if stage is None:
            return None
        subject = self._subject(entry, site)
        found = first_match(self._table.rules, subject.sections(), stage, reply)
        if found is None:
            return None
        rule, on = found
        kinds = {action.kind for action in rule.actions}
        if ActionKind.ALERT in kinds:
            self.alert(rule, reply)
        place = subject.place(rule, on)
        if place is not None and ActionKind.SUSPEND in kinds:
            wall = self._clock.now() - (self._clock.monotonic() - began)
            trigger = rule.trigger
            self._say(
                RuleMatch(rule.name, place, ActionKind.SUSPEND, reply, wall, trigger.count, trigger.seconds, rule.spans)
            )
        return rule

    def heard_all(self, entry: Entry, site: Site, transcript: Transcript, began: float) -> Fired:
        """A host answered a transaction; returns the rules that this fires. Replies that are the same count once."""
        fired: dict[tuple[Stage, Reply], Rule] = {}
        if not _refuses(transcript):
            return fired
        for trouble in dict.fromkeys(refusals_in(transcript)):
            rule = self.heard(entry, site, trouble, began)
            if rule is not None and trouble.reply is not None:
                fired[trouble.stage, trouble.reply] = rule
        return fired

    def _subject(self, entry: Entry, site: Site) -> _Subject:
        key = (entry.domain, site.key, source_name(entry))
        known = self._subjects.get(key)
        if known is None:
            known = self._subjects[key] = _Subject(self._table, entry, site)
            if len(self._subjects) > REMEMBERED:
                self._subjects.popitem(last=False)
        return known


def _refuses(transcript: Transcript) -> bool:
    """Whether there is a reply that refuses something: asked for each message, so without a generator."""
    for reply in transcript.rcpts:
        if reply.code >= 400:
            return True
    for reply in transcript.dots:
        if reply.code >= 400:
            return True
    mail, data = transcript.mail, transcript.data
    return (mail is not None and mail.code >= 400) or (data is not None and data.code >= 400)


def refusals_in(transcript: Transcript) -> Iterator[Trouble]:
    """The replies that refuse something."""
    replies = [(Stage.RCPT, reply) for reply in transcript.rcpts] + [(Stage.DOT, reply) for reply in transcript.dots]
    for stage, reply in ((Stage.MAIL, transcript.mail), (Stage.DATA, transcript.data), *replies):
        if reply is not None and reply.code >= 400:
            yield Trouble(stage, reply=reply)


def _trouble(reason: str) -> Trouble:
    """The reply, or the fault, that began an override."""
    code, _, text = reason.partition(" ")
    if len(code) == 3 and code.isascii() and code.isdecimal() and 400 <= int(code) <= 599:
        return Trouble(Stage.CONNECT, reply=Reply(int(code), text))
    return Trouble(Stage.CONNECT, FaultKind.CONNECT, reason)
