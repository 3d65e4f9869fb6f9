"""The extension points of the relay, and what a plugin imports: codes, objects, and the plugin itself.

`from mailboat.hooks import OK, DENY, Connection, HMail, Mx, Plugin`. docs/hooks.md describes it; the names exported
here are stable.
"""

from mailboat.config.settings import TlsLevel
from mailboat.hooks.chain import NO_HOOKS, Hooks
from mailboat.hooks.codes import (
    CONT,
    CONTINUE,
    DELAY,
    DENY,
    DENYDISCONNECT,
    DENYSOFT,
    DENYSOFTDISCONNECT,
    OK,
    Answer,
    Code,
    Decision,
)
from mailboat.hooks.mx import Mx
from mailboat.hooks.objects import (
    AuthAttempt,
    Body,
    BounceError,
    Connection,
    DeferredInfo,
    Delivered,
    Header,
    HMail,
    Notes,
    Todo,
    Transaction,
)
from mailboat.hooks.plugin import Hook, Plugin
from mailboat.hooks.plugin_config import ConfigError, PluginConfig
from mailboat.hooks.points import POINTS, Point
from mailboat.hooks.run import HookRun
from mailboat.model.address import Address
from mailboat.smtp.grammar import parse_address

Running = HookRun
"""Its earlier name; stays importable."""

__all__ = [
    "CONT",
    "CONTINUE",
    "DELAY",
    "DENY",
    "DENYDISCONNECT",
    "DENYSOFT",
    "DENYSOFTDISCONNECT",
    "NO_HOOKS",
    "OK",
    "POINTS",
    "Address",
    "Answer",
    "AuthAttempt",
    "Body",
    "BounceError",
    "Code",
    "ConfigError",
    "Connection",
    "Decision",
    "DeferredInfo",
    "Delivered",
    "HMail",
    "Header",
    "Hook",
    "HookRun",
    "Hooks",
    "Mx",
    "Notes",
    "Plugin",
    "PluginConfig",
    "Point",
    "Running",
    "TlsLevel",
    "Todo",
    "Transaction",
    "parse_address",
]
