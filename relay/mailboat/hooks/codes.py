"""The answers of hooks: Haraka's codes, an answer, and the decision of a whole chain. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailboat.hooks.mx import Mx


class Code(Enum):
    """The first, or only, part of an answer. `points` lists the codes that a point accepts."""

    CONT = "CONT"
    """No decision: the next plugin is called."""
    OK = "OK"
    DENY = "DENY"
    """Refuse permanently."""
    DENYSOFT = "DENYSOFT"
    """Refuse temporarily."""
    DENYDISCONNECT = "DENYDISCONNECT"
    """Refuse permanently, and close the connection."""
    DENYSOFTDISCONNECT = "DENYSOFTDISCONNECT"
    """Refuse temporarily, and close the connection."""
    DELAY = "DELAY"
    """Delay by some seconds."""


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
    """The decision of all plugins at one point: the first answer that was not CONT."""

    code: Code = Code.CONT
    value: Any = None
    """As defined for the point: see `text`, `seconds` and `mx`; None if the plugin gave none."""
    plugin: str = ""
    """The plugin that decided; empty for CONT."""
    failed: bool = False
    """Whether a plugin failed, and the decision is that of the failure policy."""
    point: str = field(default="", compare=False)
    """The point of the decision; empty for CONT."""

    @property
    def text(self) -> str:
        """The text of a refusal or an OK; empty if the plugin gave none. It may contain any characters, including
        line ends."""
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
"""No plugin decided."""
