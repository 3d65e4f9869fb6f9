"""`make docs`: generates the reference pages and the Grafana dashboard from the code.

Each page has a module in `scripts.pages`, with its prose beside it. All texts are made before the first is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.pages import configuration, hooks, metrics, outboundconfig, providers, sendingdomain, smtp_session

from observability import dashboard

ROOT = Path(__file__).resolve().parents[1]
PAGES: Mapping[str, Callable[[], str]] = {
    "docs/configuration.md": configuration.render,
    "docs/hooks.md": hooks.render,
    "docs/metrics.md": metrics.render,
    "docs/outboundconfig.md": outboundconfig.render,
    "docs/providers.md": providers.render,
    "docs/sendingdomain.md": sendingdomain.render,
    "docs/smtp-session.md": smtp_session.render,
    "charts/mailboat-relay/files/dashboard.json": dashboard.text,
}
"""What is generated, by its path, and what makes its text."""


def main() -> None:
    """Write all of it."""
    texts = {name: make() for name, make in PAGES.items()}
    for name, text in texts.items():
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
