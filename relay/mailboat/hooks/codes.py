"""What a hook may say: the codes of Haraka, an answer, and what came of a whole chain. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailboat.hooks.mx import Mx


class Code(Enum):
    """The first, or only, part of an answer. Which of them a point takes is said in `points`."""

    CONT = "CONT"
    """Nothing to say: the next plugin is asked."""
    OK = "OK"
    DENY = "DENY"
    """Refuse for good."""
    DENYSOFT = "DENYSOFT"
    """Refuse for now."""
    DENYDISCONNECT = "DENYDISCONNECT"
    """Refuse for good, and close the connection."""
    DENYSOFTDISCONNECT = "DENYSOFTDISCONNECT"
    """Refuse for now, and close the connection."""
    DELAY = "DELAY"
    """Not now: again after some seconds."""


CONT = Code.CONT
OK = Code.OK
DENY = Code.DENY
DENYSOFT = Code.DENYSOFT
DENYDISCONNECT = Code.DENYDISCONNECT
DENYSOFTDISCONNECT = Code.DENYSOFTDISCONNECT
DELAY = Code.DELAY

Answer = Code | tuple[Code, object] | None
"""What a hook returns: nothing (`CONT`), a code, or a code and its value."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the plugins of one point said together: the first answer that was not CONT."""

    code: Code = Code.CONT
    value: Any = None
    """As the point's table asks: see `text`, `seconds` and `mx`; None when the plugin gave none."""
    plugin: str = ""
    """Who said so; empty for CONT."""
    failed: bool = False
    """No plugin said so: one failed, and this is what the failure policy says instead."""
    point: str = field(default="", compare=False)
    """Where; empty for CONT."""

    @property
    def text(self) -> str:
        """The text of a refusal or an OK; empty when the plugin gave none. It may hold anything, line ends too."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def seconds(self) -> float:
        """The delay of `send_email` and `deferred`; 0 when there is none."""
        return self.value if isinstance(self.value, float) else 0.0

    @property
    def mx(self) -> tuple[Mx, ...]:
        """The next hops of `get_mx` in the order to try them; empty when there are none."""
        return self.value if isinstance(self.value, tuple) else ()


CONTINUE = Decision()
"""No plugin had anything to say."""
