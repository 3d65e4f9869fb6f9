"""What runs the hooks of one worker, from one reload to the next: threads, lent tasks, and what is stuck of either."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from mailboat.hooks.runner import Runner, Runners
from mailboat.hooks.tasks import PluginTasks
from mailboat.hooks.threads import Threads


@dataclass(slots=True)
class Crew:
    """Shared by every `chain.Hooks` of an event loop."""

    threads: Threads = field(default_factory=Threads)
    tasks: PluginTasks = field(default_factory=PluginTasks)
    runners: Runners = field(default_factory=Runners)
    stuck_tasks: int = 0
    """Tasks of hooks that were given up, and have not ended."""
    stuck_threads: int = 0
    """The same of threads."""

    def runner(self) -> Runner:
        """A task to step with."""
        runner = self.runners.idle()
        if runner is None:
            loop = asyncio.get_running_loop()
            runner = Runner(loop)
            self.tasks.install(loop)
            self.tasks.lend(runner.task, runner.plugin)
        return runner

    def close(self) -> None:
        """The end: what is idle ends, the rest when it is."""
        self.runners.close()
        self.threads.close()
