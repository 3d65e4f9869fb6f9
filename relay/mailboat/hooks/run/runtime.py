"""What runs the hooks of one worker and outlives reloads: threads, lent tasks, and the count of those stuck."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailboat.hooks.run.runner import Runners
from mailboat.hooks.run.tasks import PluginTasks
from mailboat.hooks.run.threads import Threads


@dataclass(slots=True)
class HookRuntime:
    """Shared by every set of hooks of an event loop."""

    threads: Threads = field(default_factory=Threads)
    tasks: PluginTasks = field(default_factory=PluginTasks)
    runners: Runners = field(init=False)
    stuck_tasks: int = 0
    """Tasks of abandoned hooks that have not ended."""
    stuck_threads: int = 0
    """The same of threads."""

    def __post_init__(self) -> None:
        self.runners = Runners(self.tasks)

    @classmethod
    def opened(cls) -> HookRuntime:
        """One with its pipes made, for a relay: later the process may have no descriptor left for them."""
        runtime = cls()
        runtime.threads.open()
        return runtime

    def close(self) -> None:
        """What is idle ends, the rest when it is."""
        self.runners.close()
        self.threads.close()
