"""``/ui/deliveries``: events of all jobs by what became of them, receivers in trouble, and recovering what died."""

from __future__ import annotations

from dataclasses import dataclass, replace

import falcon

from foreman import clock
from foreman.api.parameter import read_all
from foreman.api.ui.browser import ROOT, form_of
from foreman.api.ui.pages import address, redirect, send_page
from foreman.api.webhooks import EVENTS, event_filter, event_place
from foreman.domain.moment import rfc3339
from foreman.domain.webhook_order import read_recovery
from foreman.services.redeliver import Redeliverer
from foreman.store.deliveries import STATUSES, Deliveries
from foreman.store.origins import Origins

#: Receivers that are shown: those in trouble come first.
MOST_ORIGINS = 20

#: From how long ago events may be recovered, milliseconds.
SPANS = {"hour": 3_600_000, "day": 86_400_000, "week": 604_800_000}

PATH = f"{ROOT}/deliveries"


@dataclass(frozen=True, slots=True)
class DeliveriesPage:
    """``GET``, for whoever sees all."""

    deliveries: Deliveries
    origins: Origins

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show a page of events, those of the newest job first; by default the dead ones."""
        given = {"status": "dead", **req.params}
        recovered = str(given.pop("recovered", ""))
        wanted = event_filter(read_all(given, EVENTS))
        found = self.deliveries.events(replace(wanted, limit=wanted.limit + 1))
        page = found[: wanted.limit]
        more = len(found) > len(page)
        send_page(
            req,
            resp,
            "deliveries.html",
            events=page,
            status=wanted.status,
            statuses=STATUSES,
            origins=self.origins.of_note(clock.now(), MOST_ORIGINS),
            older=address(PATH, {"status": str(wanted.status), "cursor": event_place(page[-1])}) if more else None,
            recovered=int(recovered) if recovered.isascii() and recovered.isdigit() else None,
        )

    on_head = on_get


@dataclass(frozen=True, slots=True)
class RecoverForm:
    """``POST``."""

    redeliverer: Redeliverer

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Send again what died within a span, everywhere or at one origin, and say how many events it was."""
        form = form_of(req)
        span_ms = SPANS.get(form.get("span", ""))
        since = 0 if span_ms is None else clock.now() - span_ms
        wanted = read_recovery({"since": rfc3339(since), "origin": form.get("origin", "").strip() or None})
        raise redirect(f"{PATH}?recovered={self.redeliverer.recover(wanted)}")
