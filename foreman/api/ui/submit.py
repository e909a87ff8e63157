"""``/ui/submit``: a form that submits a job, by the same rules as ``POST /jobs``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import falcon

from foreman import clock
from foreman.api.gate import admitted, caller_of
from foreman.api.ui.browser import ROOT, form_of
from foreman.api.ui.pages import redirect, send_page
from foreman.domain import submission
from foreman.domain.address import Policy
from foreman.domain.job import JobRequest, Limits, Priority
from foreman.errors import Problem, SubmissionInvalid
from foreman.services.submit import Submitter
from foreman.store.upstreams import Upstreams

#: The fields, by where what they say stands in the body.
FIELDS = {
    "/model": "model",
    "/messages": "prompt",
    "/priority": "priority",
    "/state_webhook_url": "webhook_url",
    "/metadata": "metadata",
}

#: What is put into the body as it is: everything else that a chat may have.
MORE = "more"


@dataclass(frozen=True, slots=True)
class SubmitForm:
    """``GET`` the form, ``POST`` it."""

    submitter: Submitter
    upstreams: Upstreams
    defaults: Limits
    policy: Policy

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show it with the model that a link names, or the only one there is."""
        models, named = self._models(), req.params.get("model")
        only = models[0] if len(models) == 1 else ""
        self._show(req, resp, {"model": named if isinstance(named, str) else only}, {})

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Submit the job and show it, or the form with everything that is wrong with it."""
        form = form_of(req)
        body, wrong = body_of(form)
        request = self._read(body, wrong)
        if request is None or wrong:
            resp.status = HTTPStatus.UNPROCESSABLE_ENTITY
            self._show(req, resp, form, wrong)
            return
        submitted = self.submitter.submit(admitted(req, request, body), _key(form), caller_of(req))
        raise redirect(f"{ROOT}/jobs/{submitted.job.id}")

    def _read(self, body: dict[str, Any], wrong: dict[str, str]) -> JobRequest | None:
        """The job that ``body`` asks for; ``None``, and what is wrong by field, if it is none."""
        try:
            return submission.read(body, defaults=self.defaults, policy=self.policy)
        except SubmissionInvalid as error:
            for name, detail in wrong_fields(error.problems).items():
                wrong.setdefault(name, detail)
            return None

    def _show(
        self, req: falcon.Request, resp: falcon.Response, given: Mapping[str, str], wrong: Mapping[str, str]
    ) -> None:
        send_page(
            req,
            resp,
            "submit.html",
            given=given,
            wrong=wrong,
            models=self._models(),
            priorities=[each.label for each in Priority],
            once=clock.new_id(),
        )

    def _models(self) -> list[str]:
        return sorted({name for each in self.upstreams.standings() for name in each.survey.available or ()})


def body_of(form: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The body of ``POST /jobs`` that a form stands for, and what is wrong in fields that could not be read."""
    text = {name: value.replace("\r\n", "\n") for name, value in form.items()}
    unread: dict[str, str] = {}
    body = _object(text, MORE, unread)
    roles = {"system": text.get("system", ""), "user": text.get("prompt", "")}
    messages = [{"role": role, "content": content} for role, content in roles.items() if content.strip()]
    if messages or "messages" not in body:
        body["messages"] = messages
    named = {"model": text.get("model", "").strip(), "priority": text.get("priority", "")}
    body |= {name: value for name, value in named.items() if value}
    if url := text.get("webhook_url", "").strip():
        body["state_webhook_url"] = url
    if metadata := _object(text, "metadata", unread):
        body["metadata"] = metadata
    return body, unread


def wrong_fields(problems: tuple[Problem, ...]) -> dict[str, str]:
    """What is wrong, by the field that it is wrong in; what has no field is in ``MORE``."""
    found: dict[str, str] = {}
    for each in problems:
        name = FIELDS.get("/".join(each.pointer.split("/")[:2]), MORE)
        found.setdefault(name, f"{each.pointer} {each.detail}" if name == MORE else each.detail)
    return found


def _object(text: Mapping[str, str], name: str, unread: dict[str, str]) -> dict[str, Any]:
    """The JSON object in a field; empty if the field is, or if that is not what it holds."""
    given = text.get(name, "").strip()
    try:
        found = json.loads(given) if given else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        unread[name] = "must be a JSON object"
        return {}
    return found


def _key(form: Mapping[str, str]) -> str:
    """The idempotency key: a form that is sent twice makes one job, one that was changed in between another."""
    fields = json.dumps(dict(sorted(form.items()))).encode()
    return f"ui-{hashlib.sha256(fields).hexdigest()}"
