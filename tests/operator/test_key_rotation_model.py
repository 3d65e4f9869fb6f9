"""Every message verifies at every instant, whatever the order in which operator, DNS, pods and queues do their part."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mailboat.dkim.keys import Algorithm
from mailboat.dkim.record import Publication
from mailboat_operator.sending.keys import (
    UPCOMING,
    DnsAnswer,
    DomainKey,
    HeldKey,
    KeyPolicy,
    KeyState,
    RelayReport,
)
from mailboat_operator.sending.life import ARRIVAL, KeyFacts, KeyPlan, plan_keys

LIFE = timedelta(days=5)
TTL = timedelta(hours=1)
POLICY = KeyPolicy(every=timedelta(days=60))
STEPS = [timedelta(minutes=m) for m in (1, 20, 61, 400)] + [timedelta(days=d) for d in (1, 4, 15, 70)]
SERVERS = 2
PODS = 2
Config = tuple[frozenset[str], frozenset[str]]
"""Selectors of the keys that a pod has, and of those that it signs with."""
_EVER = datetime.min.replace(tzinfo=UTC)
NONE: Config = (frozenset(), frozenset())


@dataclass
class NameServer:
    """One authoritative server: what it has said of each name, and since when."""

    history: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)

    def says(self, selector: str) -> str:
        return self.history.get(selector, [(_EVER, "")])[-1][1]

    def publish(self, wanted: dict[str, str], now: datetime) -> None:
        for selector in self.history.keys() | wanted.keys():
            if self.says(selector) != wanted.get(selector, ""):
                self.history.setdefault(selector, []).append((now, wanted.get(selector, "")))

    def cached(self, selector: str, now: datetime) -> set[str]:
        """All that a resolver may have of it: a negative answer is empty."""
        said = [(_EVER, ""), *self.history.get(selector, [])]
        ends = [since for since, _ in said[1:]] + [now + TTL]
        return {value for (_, value), end in zip(said, ends, strict=True) if end > now - TTL}


@dataclass
class SignedMail:
    """A message of ours, until it is verified for the last time."""

    signed: datetime
    selectors: frozenset[str]
    held: bool = False
    left: datetime | None = None
    """When it left our queue."""


@dataclass
class RelayPod:
    """A pod with what it has loaded."""

    config: Config = NONE
    ready: bool = True


class Rotation(RuleBasedStateMachine):
    """A domain with two name servers, two pods and an operator that dies now and then."""

    @initialize()
    def begin(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.policy = POLICY
        self.servers = [NameServer() for _ in range(SERVERS)]
        self.pods = [RelayPod() for _ in range(PODS)]
        self.mails: list[SignedMail] = []
        self.records: dict[str, str] = {}
        self.secret: dict[str, HeldKey] = {}
        self.rows: tuple[DomainKey, ...] = ()
        self.lost = True
        self.rendered: Config = NONE
        self.known: set[Config] = {NONE}
        self.gap_allowed = True

    # The operator.

    @rule(dns=st.booleans(), rotate=st.booleans(), dies=st.sampled_from(["", "after secret", "after status"]))
    def reconcile(self, dns: bool, rotate: bool, dies: str) -> None:
        plan = self.plan(dns=dns, rotate=rotate)
        for new in plan.make:
            value = f"v=DKIM1; k={new.algorithm.value}; p={new.selector}"
            assert new.selector not in self.records
            self.secret[new.selector] = HeldKey(new.selector, new.algorithm, value, f"sha256:{new.selector}")
        if dies == "after secret":
            return
        self.rows, self.lost = plan.keys, plan.unjudged and self.lost
        if not plan.unjudged:
            self.records = {key.selector: key.value for key in self.rows}
        for selector in plan.drop:
            self.secret.pop(selector, None)
        if dies == "after status":
            return
        self.render()

    @rule(dns=st.booleans())
    def reconcile_often(self, dns: bool) -> None:
        """As it does when nothing hinders it: pods load, records appear, hours pass."""
        for _ in range(4):
            self.reconcile(dns, rotate=False, dies="")
            for number in range(SERVERS):
                self.publish(number)
            for number in range(PODS):
                self.load(number)
            self.pass_time(STEPS[2])

    def render(self) -> None:
        """What `dkim.ini` and the Secrets of the relay say, from the status and the keys."""
        if self.secret and not self.rows:
            return  # the status was lost: the next run of the plan restores it
        live = {key.selector for key in self.rows if key.selector in self.secret and key.state is not KeyState.REVOKED}
        signing = {key.selector for key in self.rows if key.state is KeyState.ACTIVE}
        self.rendered = frozenset(live), frozenset(signing & live)
        self.gap_allowed = self.gap_allowed and not self.rendered[1]
        self.known.add(self.rendered)

    def plan(self, *, dns: bool, rotate: bool = False) -> KeyPlan:
        names = {*self.secret, *(key.selector for key in self.rows)}
        answers = {name: DnsAnswer(self.publication(name), TTL) for name in names} if dns else {}
        held = tuple(self.secret.values())
        facts = KeyFacts(self.policy, self.rows, self.lost, held, answers, (self.report(names),), rotate=rotate)
        plan = plan_keys(facts, self.now)
        active = [key.algorithm for key in plan.keys if key.state is KeyState.ACTIVE]
        assert len(active) == len(set(active))
        return plan

    def publication(self, selector: str) -> Publication:
        said = {server.says(selector) for server in self.servers}
        ours = {key.selector: key.value for key in self.rows} | {s: key.record for s, key in self.secret.items()}
        return Publication.PUBLISHED if said == {ours[selector]} else Publication.MISSING

    def report(self, names: set[str]) -> RelayReport:
        ready = [pod.config for pod in self.pods if pod.ready]
        loaded = frozenset(names).intersection(*(has for has, _ in ready)) if ready else frozenset()
        in_use = frozenset().union(*(signs if (has, signs) in self.known else names for has, signs in ready))
        signs = self.rendered[1].union(*(signs for has, signs in ready if (has, signs) in self.known))
        complete = len(ready) == PODS
        queued = [mail.signed for mail in self.mails if mail.left is None]
        oldest = min(queued, default=self.now) if complete else None
        return RelayReport(loaded, in_use, signs, complete=complete, life=LIFE, oldest_queued=oldest)

    @rule()
    def operator_restarts(self) -> None:
        """What it has rendered before is forgotten; what it renders now is the same, unless the status was lost."""
        if self.secret and not self.rows:
            self.rendered, self.gap_allowed = NONE, True
        self.render()
        self.known = {self.rendered}

    @precondition(lambda self: {key.selector for key in self.rows} == self.secret.keys())
    @precondition(lambda self: not any(key.state in UPCOMING for key in self.rows))
    @rule()
    def status_is_lost(self) -> None:
        """With it goes what is in no Secret: that a name was used for a key that is revoked."""
        if self.rendered[1] == {key.selector for key in self.rows if key.state is KeyState.ACTIVE}:
            self.rows, self.lost = (), True

    # What users do.

    @rule(algorithms=st.sampled_from([(Algorithm.RSA,), (Algorithm.ED25519,), tuple(Algorithm)]))
    def ask_for(self, algorithms: tuple[Algorithm, ...]) -> None:
        self.policy = replace(self.policy, algorithms=algorithms)

    @precondition(lambda self: self.secret and self.secret.keys() <= {key.selector for key in self.rows})
    @rule(data=st.data())
    def delete_key(self, data: st.DataObject) -> None:
        """Of a key that is in no status and in no Secret nobody knows."""
        del self.secret[data.draw(st.sampled_from(sorted(self.secret)))]
        self.gap_allowed = True

    @rule(number=st.integers(0, SERVERS - 1))
    def publish(self, number: int) -> None:
        """A server takes what the status shows; nobody publishes what he has not been shown."""
        self.servers[number].publish(self.records, self.now)

    # Pods and mail.

    @rule(number=st.integers(0, PODS - 1))
    def load(self, number: int) -> None:
        self.pods[number].config = self.rendered

    @rule(number=st.integers(0, PODS - 1), ready=st.booleans())
    def set_ready(self, number: int, ready: bool) -> None:
        self.pods[number].ready = ready

    @rule(number=st.integers(0, PODS - 1), held=st.booleans())
    def sign(self, number: int, held: bool) -> None:
        """A pod signs whether it is ready or not."""
        if selectors := self.pods[number].config[1]:
            self.mails.append(SignedMail(self.now, selectors, held))

    @precondition(lambda self: any(mail.left is None for mail in self.mails))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """What an operator has held for longer than mail may wait is verified as it arrives, and not again later."""
        mail = data.draw(st.sampled_from([mail for mail in self.mails if mail.left is None]))
        mail.left = min(self.now, mail.signed + LIFE)
        self.forget_arrived()

    @rule(step=st.sampled_from(STEPS))
    def pass_time(self, step: timedelta) -> None:
        self.now += step
        self.every_message_verifies_at_every_instant()  # as at any time of the step: nothing was published in it
        for mail in self.mails:
            if mail.left is None and not mail.held and self.now - mail.signed > LIFE:
                mail.left = mail.signed + LIFE
        self.forget_arrived()

    def forget_arrived(self) -> None:
        self.mails = [mail for mail in self.mails if mail.left is None or self.now - mail.left <= ARRIVAL]

    @invariant()
    def every_message_verifies_at_every_instant(self) -> None:
        for mail in self.mails:
            for selector in mail.selectors:
                found = {value for server in self.servers for value in server.cached(selector, self.now)}
                assert {value.rpartition("=")[2] for value in found} == {selector}

    @invariant()
    def a_domain_that_signs_goes_on_signing(self) -> None:
        assert self.rendered[1] or self.gap_allowed


TestRotation = Rotation.TestCase
TestRotation.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
