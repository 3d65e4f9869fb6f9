"""The built-in table of shaping.ini: large providers, their limits, and what their replies mean. Pure.

Numbers, codes and host names are facts, each with the kind of its source and the month in which it was read; what
nobody publishes is a cautious beginning. `docs/providers.md` is generated from it. It has no `[default]` and no `tls`:
it changes nothing for mail to others.
"""

from __future__ import annotations

from mailboat.config import ini
from mailboat.config.ini import IniFile

ABOUT = "about"
"""The key for the source of facts, for people: `KEYS | KIND | MONTH | TEXT`, in rules without KEYS."""
KINDS = {
    "published": "the provider publishes it",
    "code": "the source of another program",
    "report": "reports of others",
    "start": "a cautious beginning",
}
PUBLISHED = "published"

TABLE = """\
[provider:google]
about[]=mx | published | 2026-11 | Host names of Gmail and Google Workspace
about[]=connections, messages_per_connection | start | 2026-08 | No number is published; other relays begin with 5 and 50
mx[]=.google.com
mx[]=.googlemail.com
sample_mx[]=gmail-smtp-in.l.google.com, alt1.gmail-smtp-in.l.google.com
sample_mx[]=aspmx.l.google.com, alt1.aspmx.l.google.com
sample_mx[]=smtp.google.com
sample_mx[]=mx1.googlemail.com
connections=10
messages_per_connection=50

[provider:yahoo]
about[]=mx | code | 2026-08 | Yahoo and AOL; since July 2025 also the domains of AT&T
about[]=messages_per_connection | code | 2026-08 | 20, as Yahoo told the authors of another relay
mx[]=.yahoodns.net
sample_mx[]=mta5.am0.yahoodns.net, mta6.am0.yahoodns.net
sample_mx[]=mx-aol.mail.gm0.yahoodns.net
messages_per_connection=20

[provider:outlook]
about[]=mx | published | 2026-08 | outlook.com, hotmail.com, live.com and msn.com
about[]=connections, messages_per_connection | start | 2026-08 | Published is only that more than 500 connections need an arrangement
mx[]=.olc.protection.outlook.com
sample_mx[]=hotmail-com.olc.protection.outlook.com
connections=10
messages_per_connection=50

[provider:microsoft365]
about[]=mx | published | 2026-11 | Domains at Exchange Online
about[]=connections, messages_per_connection | start | 2026-11 | No number is published: what is slowed is a source that changes its habits
mx[]=.mail.protection.outlook.com
mx[]=.mx.microsoft
sample_mx[]=example-com.mail.protection.outlook.com
sample_mx[]=example-com.a-v1.mx.microsoft
connections=20
messages_per_connection=50

[provider:apple]
about[]=mx | published | 2026-08 | icloud.com, me.com and mac.com
about[]=connections, messages_per_connection | start | 2026-08 | No number is published; those in use elsewhere reach from 5 to 150 connections
mx[]=.mail.icloud.com
sample_mx[]=mx01.mail.icloud.com, mx02.mail.icloud.com
connections=10
messages_per_connection=20

[provider:comcast]
about[]=mx | published | 2026-08 | comcast.net
about[]=connections, recipients_per_message | published | 2026-08 | 25 from an address, and 100
about[]=inet | published | 2026-08 | Over IPv6 at most 1,000 messages an hour from a network
mx[]=.comcast.net
sample_mx[]=mx1.mxge.comcast.net, mx2.mxge.comcast.net
connections=25
recipients_per_message=100
inet=v4

[provider:orange]
about[]=mx | report | 2026-08 | orange.fr and wanadoo.fr
about[]=connections, messages_per_connection | report | 2026-08 | 2 and 100, as its postmaster page is quoted by others
about[]=connection_rate | report | 2026-08 | 1,000 an hour are told of; some are left for others
mx[]=.orange.fr
sample_mx[]=smtp-in.orange.fr
connections=2
messages_per_connection=100
connection_rate=900/1h

[provider:laposte]
about[]=mx | report | 2026-08 | laposte.net
about[]=connections, messages_per_connection | report | 2026-08 | 2 and 100
mx[]=.laposte.net
sample_mx[]=smtpz4.laposte.net
connections=2
messages_per_connection=100

[provider:united-internet]
about[]=mx | published | 2026-11 | GMX, WEB.DE, and domains at IONOS
about[]=connections, messages_per_connection | start | 2026-08 | No number is published; other relays begin with 4 and 20
mx[]=.gmx.net
mx[]=.web.de
mx[]=.kundenserver.de
sample_mx[]=mx00.emig.gmx.net, mx01.emig.gmx.net
sample_mx[]=mx-ha02.web.de, mx-ha03.web.de
sample_mx[]=mx00.kundenserver.de
connections=4
messages_per_connection=20

[provider:telekom]
about[]=mx | report | 2026-08 | t-online.de
about[]=connections | start | 2026-08 | No number is published
mx[]=.t-online.de
sample_mx[]=mx00.t-online.de, mx01.t-online.de
connections=5

[provider:tencent]
about[]=mx | published | 2026-08 | qq.com, foxmail.com, and domains at Tencent
about[]=connections, messages_per_connection | start | 2026-08 | The numbers are secret, and it says so
mx[]=.qq.com
sample_mx[]=mx1.qq.com, mx3.qq.com
sample_mx[]=mxbiz1.qq.com
connections=4
messages_per_connection=8

[provider:netease]
about[]=mx | report | 2026-08 | 163.com, 126.com and yeah.net
about[]=connections, messages_per_connection | start | 2026-08 | No number is published; other relays begin with 4 and 7
mx[]=.mxmail.netease.com
sample_mx[]=163mx01.mxmail.netease.com, 163mx00.mxmail.netease.com
connections=4
messages_per_connection=8

[provider:italiaonline]
about[]=mx | report | 2026-08 | libero.it and virgilio.it
about[]=connections | start | 2026-08 | No number is published
mx[]=smtp-in.libero.it
mx[]=smtp-in.virgilio.it
sample_mx[]=smtp-in.libero.it
sample_mx[]=smtp-in.virgilio.it
connections=3

[provider:mimecast]
about[]=mx | published | 2026-08 | Filters mail for others; its regions are systems of their own
about[]=connections | start | 2026-08 | No number is published
mx[]=.mimecast.com
mx[]=.mimecast.co.za
sample_mx[]=us-smtp-inbound-1.mimecast.com, us-smtp-inbound-2.mimecast.com
sample_mx[]=za-smtp-inbound-1.mimecast.co.za
connections=10 per site

[provider:proofpoint]
about[]=mx | published | 2026-08 | Filters mail for others
about[]=connections | start | 2026-08 | No number is published for connections
mx[]=.pphosted.com
mx[]=.ppe-hosted.com
sample_mx[]=mxa-00000000.gslb.pphosted.com
sample_mx[]=mx1-us1.ppe-hosted.com
connections=10 per site

[rule:google-rate-source]
about[]=published | 2026-11 | Help page on SMTP errors: the source is rate limited
on=provider:google
stage=greeting, mail, rcpt, data, dot
reply[]=4# 4.7.28 * unusual rate of * originating from your IP *
sample[]=421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address. - gsmtp
sample[]=421 4.7.28 [192.0.2.1] Our system has detected an unusual rate of unsolicited mail originating from your IP address. - gsmtp
trigger=2/10m
action[]=rate *0.5 floor 6/1m
for=30m

[rule:google-rate-tenant]
about[]=report | 2026-11 | The domain in SPF or DKIM is rate limited, so not all mail of the source
on=provider:google
stage=dot
reply[]=4# 4.7.28 * originating from your SPF domain*
reply[]=4# 4.7.28 * originating from your DKIM domain*
sample[]=421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain. - gsmtp
sample[]=421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your SPF domain. - gsmtp
per=tenant, provider
trigger=2/10m
action[]=rate *0.5 floor 1/1m
for=1h

[rule:google-one-mailbox]
about[]=published | 2026-11 | Help page on SMTP errors: it is about one mailbox
on=provider:google
stage=rcpt, dot
reply[]=450 4.2.1 The user you are trying to contact is receiving *
sample[]=450 4.2.1 The user you are trying to contact is receiving mail too quickly. - gsmtp
action[]=retry 15m
per=entry

[rule:yahoo-deferred]
about[]=code | 2026-11 | For some hours
on=provider:yahoo
stage=greeting, mail, dot
reply[]=421 4.7.0 [TSS#] *
reply[]=421 4.7.0 [TS#] *
sample[]=421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1
sample[]=421 4.7.0 [TS02] Messages from 192.0.2.1 temporarily deferred
trigger=2/1h
action[]=suspend
for=2h, 4h

[rule:yahoo-for-good]
about[]=code | 2026-08 | To try again is useless
on=provider:yahoo
stage=greeting, mail
reply[]=5# 5.7.2 [TSS#] * permanently deferred*
sample[]=553 5.7.2 [TSS09] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.
action[]=suspend
action[]=alert
for=24h

[rule:outlook-rate]
about[]=report | 2026-08 | Limited by reputation, or for the rate of connections
on=provider:outlook
stage=greeting, mail, rcpt, dot
reply[]=451 4.7.65# * has been temporarily rate limited *
reply[]=421 RP-00# *
sample[]=451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)
sample[]=421 RP-001 (X) Unfortunately, some messages from 192.0.2.1 weren't sent. Please try again.
action[]=rate *0.5 floor 6/1m
action[]=connections *0.5 floor 1
for=30m

[rule:outlook-listed]
about[]=report | 2026-08 | The source is listed; the recipients are not at fault
on=provider:outlook
stage=mail
reply[]=550 5.7.1 * part of their network is on our block list (*S31#)*
sample[]=550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. part of their network is on our block list (S3150).
action[]=defer
action[]=suspend
action[]=alert
for=6h

[rule:microsoft365-throttle]
about[]=published | 2026-11 | Support page: it clears over days as volume grows slowly
on=provider:microsoft365
reply[]=451 4.7.5# *Server busy*
reply[]=451 4.7.# *(AS#)*
sample[]=451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)
sample[]=451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77713)
trigger=3/10m
per=source, provider
action[]=rate *0.5 floor 10/1m
for=20m

[rule:apple-volume]
about[]=published | 2026-08 | Support page 102322: too much at once
on=provider:apple
reply[]=421 4.7.1 * deferred due to excessive volume*
sample[]=421 4.7.1 Messages to a@icloud.com deferred due to excessive volume. Try again later
action[]=rate *0.5 floor 6/1m
for=15m

[rule:apple-reputation]
about[]=code | 2026-08 | The source is deferred
on=provider:apple
reply[]=4# *[HCM#]*
sample[]=421 [HCM1] Your mail from 192.0.2.1 was deferred.
action[]=rate *0.5 floor 6/1m
for=15m

[rule:comcast-sessions]
about[]=published | 2026-08 | Its postmaster pages: more connections than are allowed
on=provider:comcast
stage=greeting
reply[]=421 *Too many sessions opened*
sample[]=421 Too many sessions opened
action[]=connections *0.5 floor 1
for=15m

[rule:comcast-throttle]
about[]=published | 2026-08 | Its postmaster pages: the source is limited
on=provider:comcast
reply[]=4# *Throttled*
sample[]=421 4.1.0 192.0.2.1 Throttled - try again later
trigger=2/1h
action[]=rate *0.5 floor 10/1m
for=10m

[rule:french-connections]
about[]=code | 2026-08 | The last three digits are the meaning: 104 is too many connections
on=provider:orange, provider:laposte
reply[]=4# *_104*
sample[]=421 mwinf5c01 ME Trop de connexions. Too many connections, slow down. OFR004_104 [104]
action[]=connections =1
for=1h

[rule:french-refused]
about[]=code | 2026-08 | 103, 105, 108, 109, 503 and 999: refused for now, also as 550
on=provider:orange, provider:laposte
stage=greeting, mail
reply[]=# *OFR*_10# *
reply[]=# *OFR*_999 *
reply[]=4# *LPN*_50# *
sample[]=550 opmta1 ME Service refuse. Service refused. OFR006_103 [103]
sample[]=421 mwinf5c77 ME Service refuse. Service refused, please try later. OFR_999 [999]
sample[]=450 4.7.1 Client host rejected: Service refuse. LPN027_503 [503]
action[]=defer
action[]=suspend
for=1h, 4h

[rule:united-internet-policy]
about[]=published | 2026-11 | Its postmaster pages: try again in some hours, more slowly
on=provider:united-internet
stage=greeting
reply[]=# *Reject due to policy *
reply[]=421 *Too many connections*
sample[]=554 gmx.net (mxgmx016) Nemesis ESMTP Service not available No SMTP service Reject due to policy restrictions,
sample[]=421 gmx.net (mxgmx016) Nemesis ESMTP Service not available Too many connections
action[]=defer
action[]=rate *0.25 floor 1/1m
for=2h

[rule:telekom-unknown-source]
about[]=report | 2026-08 | It does not know the source, and its postmaster has to be asked
on=provider:telekom
stage=greeting
reply[]=554 IP=* Ask your postmaster for help or to contact *
reply[]=554 IP=* (Ask your postmaster for help or to contact *
sample[]=554 IP=192.0.2.1 - None/bad reputation. Ask your postmaster for help or to contact x@example.com for reset. (NOWL)
sample[]=554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster for help or to contact x@example.com to clarify.) (BL)
action[]=defer
action[]=suspend
action[]=alert
for=6h

[rule:tencent-frequency]
about[]=published | 2026-08 | Its help pages: a limit of a minute, an hour or a day, refused with 550
on=provider:tencent
reply[]=550 *frequency limited*
sample[]=550 Ip frequency limited
action[]=defer
action[]=rate *0.5 floor 1/1m
for=10m, 1h, 6h

[rule:netease-connections]
about[]=report | 2026-08 | Too many connections
on=provider:netease
reply[]=4# HL:ICC*
sample[]=421 HL:ICC 163 smtp1
action[]=connections =1
for=1h

[rule:netease-session]
about[]=report | 2026-08 | Too many messages in this connection
on=provider:netease
reply[]=4# MI:DMC*
reply[]=4# RP:DRC*
sample[]=451 MI:DMC 163 smtp1
sample[]=450 RP:DRC 163 smtp1
action[]=messages_per_connection *0.5 floor 1
for=1d

[rule:italiaonline-connections]
about[]=report | 2026-08 | Too many connections
on=provider:italiaonline
reply[]=421 *Too many connections, slow down*
sample[]=421 smtp-19.iol.local smtp-19.iol.local Too many connections, slow down
action[]=connections *0.5 floor 1
for=1h

[rule:mimecast-greylist]
about[]=published | 2026-08 | Its support page: greylisting of a sender, recipient and source, for 1 minute to 12 hours
on=provider:mimecast
stage=rcpt
reply[]=451 Internal resource*temporarily unavailable*
sample[]=451 Internal resources are temporarily unavailable
action[]=retry 2m
per=entry

[rule:proofpoint-hourly]
about[]=published | 2026-08 | Its support page: the limit of a customer
on=provider:proofpoint
reply[]=452 Too many recipients received this hour*
sample[]=452 Too many recipients received this hour
per=domain, source
action[]=suspend
for=20m
"""  # noqa: E501 - replies are one line


def about(file: IniFile, section: str) -> list[list[str]]:
    """The fields of each `about[]` of a section."""
    return [[field.strip() for field in entry.value.split("|")] for entry in file.of(section) if entry.key == ABOUT]


def _first_hand() -> frozenset[str]:
    file = ini.parse(TABLE, "")
    rules = (section for section in file.sections if section.startswith("rule:"))
    return frozenset(
        section.removeprefix("rule:")
        for section in rules
        if all(kind == PUBLISHED for kind, _month, _text in about(file, section))
    )


FIRST_HAND = _first_hand()
"""Rules that rest on what the provider itself publishes."""
