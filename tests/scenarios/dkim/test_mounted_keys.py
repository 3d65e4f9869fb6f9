"""Keys as a pod has them: `dkim/` is a volume within the configuration directory, and changes without a restart."""

from __future__ import annotations

from tests.support.dkim import DOMAIN, signatures_of, verified
from tests.support.mounted_volume import MountedVolume
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import Relay, running
from tests.support.scripted_mx import ScriptedMx

from mailboat.dkim.keys import Algorithm, SigningKey, make_key, to_pem

MAIL = b"From: joe@example.com\r\nSubject: hi\r\n\r\nhello\r\n"


def key_named(selector: str) -> SigningKey:
    return SigningKey(DOMAIN, selector, make_key(Algorithm.ED25519))


def files_of(*keys: SigningKey) -> dict[str, bytes]:
    return {f"{key.dns_name}.pem": to_pem(key.private) for key in keys}


def signing(key: SigningKey) -> str:
    return f"[domain:{DOMAIN}]\nselectors={key.selector} {key.public_hash}\n"


async def reloads(relay: Relay, result: str, count: float) -> None:
    name = f"mailboat_config_reloads_total{{result={result}}}"
    await relay.poll(relay.metrics, lambda metrics: metrics.get(name, 0) >= count)


async def signed_by(relay: Relay, mx: ScriptedMx, count: int) -> tuple[str, bytes]:
    """The selector of the signature of the next mail, which is the relay's `count`th, and the mail."""
    await relay.submit(body=MAIL)
    await relay.event("delivered", count)
    mail = mx.mails[-1].body
    (tags,) = signatures_of(mail)
    return tags["s"], mail


async def test_keys_in_a_mounted_volume_are_followed_and_their_order_of_arrival_does_not_matter(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    """dkim.ini is in another volume, and may be there before the key that it names, or after."""
    old, new, newest = map(key_named, ("mb1", "mb2", "mb3"))
    keys = MountedVolume(config.directory / "dkim")
    keys.publish(files_of(old))
    config.put("dkim.ini", signing(old))
    async with running(config) as relay:
        assert (await signed_by(relay, mx, 1))[0] == "mb1"

        keys.publish(files_of(old, new))  # first the key, which changes nothing yet
        config.put("dkim.ini", signing(new))
        await reloads(relay, "success", 1)
        assert (await signed_by(relay, mx, 2))[0] == "mb2"

        config.put("dkim.ini", signing(newest))  # first dkim.ini
        await reloads(relay, "failure", 1)
        assert (await signed_by(relay, mx, 3))[0] == "mb2"
        keys.publish(files_of(new, newest))
        await reloads(relay, "success", 2)
        selector, mail = await signed_by(relay, mx, 4)
        assert relay.process.returncode is None

    assert selector == "mb3"
    assert verified(mail, newest) == [True]


async def test_the_first_keys_may_come_to_a_relay_that_started_without_any(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    """The eight Secrets are optional: their volume is there, and empty."""
    keys = MountedVolume(config.directory / "dkim")
    keys.publish({})
    key = key_named("mb1")
    async with running(config) as relay:
        keys.publish(files_of(key))
        await reloads(relay, "success", 1)
        _, mail = await signed_by(relay, mx, 1)
    assert verified(mail, key) == [True]


async def test_another_key_under_the_same_name_is_taken_from_a_mounted_volume(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    """The names in the folder stay as they are: only the symlink above them changes."""
    before, after = key_named("mb1"), key_named("mb1")
    keys = MountedVolume(config.directory / "dkim")
    keys.publish(files_of(before))
    async with running(config) as relay:
        keys.publish(files_of(after))
        await reloads(relay, "success", 1)
        _, mail = await signed_by(relay, mx, 1)
    assert verified(mail, after) == [True]
