"""Pictures of the page for the documents: ``python -m tests.browser.screenshots``, into ``docs/screenshots``.

Everything in them is real: the processes of the Procfile, jobs that run, a receiver that breaks down and recovers.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Browser, FloatRect

from tests.acceptance.stack import ROOT, Stack
from tests.browser.chromium import MISSING, NARROW, WIDE, Theme, chromium, executable, page_of
from tests.receiver import Receiver, always
from tests.upstream import Behaviour, Exchange, stats

TARGET = ROOT / "docs" / "screenshots"

TEXT = (
    "People queue because a line is a promise: whoever comes first is served first, and nobody has to fight for it. "
    "It costs time, and it saves the worry of being passed over. Where the promise is kept, waiting is calm; where it "
    "is broken once, everybody pushes."
)

QUESTION = "Why do people queue? Answer in three sentences."

#: Pixels: the rest of a longer page is more of the same.
TALLEST = {WIDE: 1400, NARROW: 1500}

MODELS = ("llama3.2:3b", "qwen3:8b", "smollm2:135m")


def slowly(text: str, until: threading.Event, pause_s: float = 0.03) -> Behaviour:
    """The words one by one, the last third of them not before ``until``."""
    words = [f"{word} " for word in text.split(" ")]
    kept_back = len(words) * 2 // 3

    def behave(exchange: Exchange) -> None:
        exchange.begin()
        for number, word in enumerate(words):
            exchange.pause(600.0 if number == kept_back else pause_s, until if number == kept_back else None)
            exchange.line(exchange.part({"content": word}))
        exchange.line(exchange.part({}, **stats(len(words))))
        exchange.end()

    return behave


class Scene:
    """A foreman with something to see in every corner."""

    def __init__(self, stack: Stack, dead_receiver: Receiver) -> None:
        self.go_on = threading.Event()
        self.stack = stack
        stack.upstream.models = set(MODELS)
        stack.upstream.load_delay_s = 0.8
        stack.upstream.default = slowly(TEXT, _set(), 0.02)
        self.finished = self._submit("llama3.2:3b")
        stack.settled(self.finished)
        stack.upstream.load_delay_s = 0.1
        stack.upstream.default = slowly("Because a line is fair.", _set())
        self.dead = [self._submit("llama3.2:3b", state_webhook_url=dead_receiver.url) for _ in range(2)]
        for job_id in self.dead:
            stack.settled(job_id)
        rejected = self._submit("gone:1b")
        stack.settled(rejected)
        stack.upstream.default = slowly(TEXT, self.go_on)
        self.running = self._submit("qwen3:8b", priority="interactive")
        stack.until(self.running, "working")
        for number in range(6):
            self._submit(MODELS[number % 3], priority=("normal", "batch", "batch")[number % 3])

    def _submit(self, model: str, **keys: object) -> str:
        return self.stack.submit(
            model=model, messages=[{"role": "user", "content": QUESTION}], metadata={"customer": "acme"}, **keys
        )


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def take(browser: Browser, scene: Scene, target: Path) -> None:
    """All of them: four pages, light and dark, wide and narrow."""
    pages = {
        "queue": "/ui",
        "running": f"/ui/jobs/{scene.running}",
        "finished": f"/ui/jobs/{scene.finished}",
        "dead": "/ui/deliveries",
        "submit": "/ui/submit",
        "upstreams": "/ui/upstreams",
    }
    themes: tuple[Theme, ...] = ("light", "dark")
    for theme in themes:
        for size, width in ((WIDE, "wide"), (NARROW, "narrow")):
            with page_of(browser, scene.stack.url, theme=theme, size=size) as page:
                for name, path in pages.items():
                    page.goto(path)
                    if name == "running":
                        page.get_by_text("it saves the worry").wait_for()
                    height = min(int(page.evaluate("document.documentElement.scrollHeight")), TALLEST[size])
                    area: FloatRect = {"x": 0, "y": 0, "width": size[0], "height": height}
                    page.screenshot(path=target / f"{name}-{theme}-{width}.png", full_page=True, clip=area)


def main() -> None:
    """Take them."""
    path = executable()
    if path is None:
        raise SystemExit(MISSING)
    TARGET.mkdir(parents=True, exist_ok=True)
    with ExitStack() as exits:
        place = exits.enter_context(tempfile.TemporaryDirectory())
        dead = exits.enter_context(Receiver(always(503, body=b"<h1>Service Unavailable</h1>")))
        stack = exits.enter_context(Stack(Path(place) / "stack", {"FOREMAN_WEBHOOK_CIRCUIT_FAILURES": "1000"}))
        browser = exits.enter_context(chromium(path))
        scene = Scene(stack, dead)
        take(browser, scene, TARGET)
        scene.go_on.set()


if __name__ == "__main__":
    main()
