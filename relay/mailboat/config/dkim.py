"""Makes a signer from `dkim.ini` and the keys in `dkim/`. Pure; called by `parse`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from mailboat.config.dkim_values import signing_domain
from mailboat.config.fault import Report
from mailboat.config.files import ConfigFiles, FileError
from mailboat.config.ini import MAIN, IniFile
from mailboat.config.nouns import Signing
from mailboat.config.sections import read_section, warn_of_sections
from mailboat.config.settings import DkimDomain, DkimSettings
from mailboat.dkim.canonical import Canonicalization
from mailboat.dkim.coverage import ALWAYS, AS_PRESENT, WHEN_PRESENT, Coverage
from mailboat.dkim.keys import Algorithm, SigningKey, dns_name, parse_key, split_dns_name
from mailboat.dkim.signature import SignatureForm
from mailboat.dkim.signer import Signer, SigningDomain

FILE = "dkim.ini"
FOLDER = "dkim"
SUFFIX = ".pem"
DOMAIN = "domain:"
_HELD = "none of its keys may sign for now (signing=hold)"
_AFTER_THE_QUEUE = 7 * 86_400.0
"""Seconds that later hosts may keep a message."""


def key_of(name: str, content: bytes) -> SigningKey:
    """The key in a file of this name, `SELECTOR._domainkey.DOMAIN.pem`. Raises ValueError: what is wrong with it."""
    selector, domain = split_dns_name(name.removesuffix(SUFFIX))
    return SigningKey(signing_domain(domain), selector, *parse_key(content))


def path_of(selector: str, domain: str) -> str:
    """Where the key of a selector and domain stands in the configuration directory."""
    return f"{FOLDER}/{dns_name(selector, domain)}{SUFFIX}"


def is_key_file(name: str) -> bool:
    """Whether a file in `dkim/` should be a key, not one created by Kubernetes or an editor."""
    return name.endswith(SUFFIX) and not name.startswith(".")


def read_dkim(
    file: IniFile, files: ConfigFiles, lifetime: float, report: Report
) -> tuple[DkimSettings, tuple[DkimDomain, ...], Signer | None]:
    """The settings and the signer, None without keys. `lifetime`: longest time of a message in the queue, seconds."""
    warn_of_sections(file, (MAIN, DOMAIN), report)
    settings = DkimSettings(**read_section(file, MAIN, DkimSettings, report))
    if 0 < settings.expire <= lifetime + _AFTER_THE_QUEUE:
        message = f"mail may wait here for {lifetime:.0f} s and elsewhere for 7 days: signatures would expire before"
        report.faults.append(file.fault(MAIN, "expire", message))
    domains = tuple(_domains(file, report))
    by_domain: dict[str, list[SigningKey]] = {}
    for key in _keys(files, report):
        by_domain.setdefault(key.domain, []).append(key)
    signing = {name: SigningDomain(_in_use(keys)) for name, keys in by_domain.items()}
    for domain in domains:
        keys = by_domain.get(domain.name, [])
        if domain.signing is not Signing.ON:
            signing.pop(domain.name, None)
            if domain.signing is Signing.HOLD:
                signing[domain.name] = SigningDomain((), domain.subdomains, trouble=_HELD)
            continue
        chosen = tuple(_chosen(domain, keys, file, report)) if domain.selectors else _in_use(keys)
        signing[domain.name] = SigningDomain(chosen, domain.subdomains, domain.always)
    if settings.fallback_domain and settings.fallback_domain not in signing:
        report.warnings.append(file.fault(MAIN, "fallback_domain", f"it has no key in {FOLDER}/"))
    signer = _signer(settings, signing) if settings.enabled and signing else None
    return settings, domains, signer


def without_keys(signer: Signer | None, settings: DkimSettings, domain: str, trouble: str) -> Signer | None:
    """The same, but this domain has keys that cannot be used."""
    if not settings.enabled:
        return None
    signer = signer or _signer(settings, {})
    broken = replace(signer.domains.get(domain, SigningDomain(())), trouble=trouble)
    return replace(signer, domains={**signer.domains, domain: broken})


def _signer(settings: DkimSettings, domains: Mapping[str, SigningDomain]) -> Signer:
    header, _, body = settings.canonicalization.partition("/")
    over = set(settings.oversign)
    coverage = Coverage(
        always=(*ALWAYS, *_besides(settings.oversign, ALWAYS)),
        when_present=tuple(name for name in WHEN_PRESENT if name.lower() not in over),
        as_present=(
            *(name for name in AS_PRESENT if name.lower() not in over),
            *_besides(settings.headers, (*ALWAYS, *WHEN_PRESENT, *AS_PRESENT, *over)),
        ),
    )
    lifetime = int(settings.expire) or None
    form = SignatureForm(Canonicalization(header), Canonicalization(body), coverage, lifetime)
    return Signer(domains, form, settings.fallback_domain, settings.strict)


def _besides(names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    lower = {name.lower() for name in known}
    return (name for name in names if name not in lower)


def _domains(file: IniFile, report: Report) -> Iterator[DkimDomain]:
    for section, line in file.sections.items():
        if section.startswith(DOMAIN):
            try:
                name = signing_domain(section.removeprefix(DOMAIN))
            except ValueError as error:
                report.fault(FILE, f"[{section}] {error}", line)
            else:
                yield DkimDomain(name=name, **read_section(file, section, DkimDomain, report))


def _keys(files: ConfigFiles, report: Report) -> Iterator[SigningKey]:
    try:
        names = files.names_in(FOLDER)
    except FileError as error:
        report.fault(FOLDER, str(error))
        return
    for name in filter(is_key_file, names):
        try:
            key = key_of(name, files.named(f"{FOLDER}/{name}"))
        except (FileError, ValueError) as error:
            report.fault(f"{FOLDER}/{name}", str(error))
        else:
            if key.warning:
                report.warn(f"{FOLDER}/{name}", key.warning)
            yield key


def _in_use(keys: Iterable[SigningKey]) -> tuple[SigningKey, ...]:
    """For each algorithm the key whose selector sorts last, because two signatures of one kind are useless."""
    last = {key.algorithm: key for key in sorted(keys, key=lambda key: key.selector)}
    return tuple(last[algorithm] for algorithm in Algorithm if algorithm in last)


def _chosen(domain: DkimDomain, keys: Iterable[SigningKey], file: IniFile, report: Report) -> Iterator[SigningKey]:
    by_selector = {key.selector: key for key in keys}
    found = []
    for choice in domain.selectors:
        key = by_selector.get(choice.selector)
        if key is None:
            message = f"there is no {path_of(choice.selector, domain.name)}"
        elif choice.public_hash not in ("", key.public_hash):
            message = f"the key of {choice.selector} is {key.public_hash}"
        else:
            found.append(key)
            continue
        report.faults.append(file.fault(f"{DOMAIN}{domain.name}", "selectors", message))
    order = list(Algorithm)
    yield from sorted(found, key=lambda key: order.index(key.algorithm))
