"""``foreman keys``: makes, lists and revokes the API keys in the database of the settings."""

from __future__ import annotations

from typing import Any

import click

from foreman.cli.printing import as_json, print_json, print_table
from foreman.domain.api_key import Allowance, ApiKey
from foreman.domain.job import Priority
from foreman.domain.moment import rfc3339, rfc3339_or_none

#: Characters of a key's name: enough to say whose it is, and a line of the list.
MAX_NAME = 64
#: Jobs a minute beyond which a bound bounds nothing: a web process takes some 1,500 a second.
MAX_PER_MINUTE = 100_000
#: As ``jobs.max_queue``, which holds for all keys together.
MAX_QUEUED = 100_000_000


@click.group()
def keys() -> None:
    """API keys: who may use the API, and how much of it.

    A key is sent as "Authorization: Bearer KEY" and sees its own jobs only. Whether the API asks for one is the
    setting web.auth: by default it does wherever others than this machine can reach it.

    \b
    Examples:
      KEY=$(foreman keys create laptop)
      foreman keys list
      foreman keys revoke 01M8659KJ8T3KFGQKC1ZY0JFZD
    """  # noqa: D301 -- click needs its \b as it is


def _name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.isprintable() or not value.strip() or len(value) > MAX_NAME:
        raise click.BadParameter(f"must be 1 to {MAX_NAME} printable characters")
    return value.strip()


@keys.command()
@click.argument("name", callback=_name)
@click.option("--admin", is_flag=True, help="It sees every job, and what is for operators: /metrics and the like.")
@click.option("--max-queued", type=click.IntRange(1, MAX_QUEUED), metavar="N", help="Jobs of it in the queue at once.")
@click.option("--max-priority", type=click.Choice([each.label for each in Priority]), help="Its highest priority.")
@click.option("--per-minute", type=click.IntRange(1, MAX_PER_MINUTE), metavar="N", help="Its submissions a minute.")
@as_json
def create(  # noqa: PLR0913  an argument for each option
    name: str, *, admin: bool, max_queued: int | None, max_priority: str | None, per_minute: int | None, as_json: bool
) -> None:
    """Make a key, and print it: this once.

    NAME is what the list calls it. Of the key itself only a digest is kept.

    \b
    Examples:
      foreman keys create laptop
      foreman keys create nightly --max-queued 100 --max-priority batch --per-minute 60
      foreman keys create prometheus --admin
    """  # noqa: D301 -- click needs its \b as it is
    from foreman import stock  # noqa: PLC0415 -- imported when used, as in main.py

    highest = None if max_priority is None else Priority[max_priority.upper()]
    stock.migrate()
    issued = stock.issuer().issue(name, Allowance(max_queued, highest, per_minute), admin=admin)
    if as_json:
        print_json({"key": issued.text} | _described(issued.key))
    else:
        # Alone on stdout, so that a script can take it.
        click.echo(issued.text)
        click.echo(f"This is {name}, id {issued.key.id}. It is not shown again.", err=True)
    if not stock.settings().keys_required:
        click.echo("With these settings the API asks for no key: see web.auth.", err=True)


@keys.command(name="list")
@as_json
def list_keys(*, as_json: bool) -> None:
    """Show every key there is or was, oldest first, without its secret.

    \b
    Examples:
      foreman keys list
      foreman keys list --json | jq -r '.[] | select(.revoked_at == null) | .name'
    """  # noqa: D301 -- click needs its \b as it is
    from foreman import stock  # noqa: PLC0415 -- see above

    stock.migrate()
    found = [_described(key) for key in stock.keys().all()]
    if as_json:
        print_json(found)
    else:
        print_table(("ID", "NAME", "KIND", "ALLOWS", "CREATED", "REVOKED"), [_line(each) for each in found])


@keys.command()
@click.argument("key_id", metavar="ID")
@as_json
def revoke(key_id: str, *, as_json: bool) -> None:
    """Refuse a key from its next request on. Its jobs go on, and admin keys still see them.

    \b
    Examples:
      foreman keys revoke 01M8659KJ8T3KFGQKC1ZY0JFZD
    """  # noqa: D301 -- click needs its \b as it is
    from foreman import clock, stock  # noqa: PLC0415 -- see above

    stock.migrate()
    revoked = stock.keys().revoke(key_id.upper(), clock.now())
    if revoked is None:
        raise click.ClickException("No key has this id; `foreman keys list` shows them.")
    if as_json:
        print_json(_described(revoked))
    else:
        click.echo(f"revoked {revoked.id}, {revoked.name}")


def _described(key: ApiKey) -> dict[str, Any]:
    allowance = key.allowance
    return {
        "id": key.id,
        "name": key.name,
        "admin": key.admin,
        "max_queued": allowance.max_queued,
        "max_priority": None if allowance.max_priority is None else allowance.max_priority.label,
        "per_minute": allowance.per_minute,
        "created_at": rfc3339(key.created_at),
        "revoked_at": rfc3339_or_none(key.revoked_at),
    }


def _line(key: dict[str, Any]) -> tuple[str, ...]:
    limits = (("max_queued", "queued"), ("max_priority", "priority"), ("per_minute", "a minute"))
    allows = ", ".join(f"{key[name]} {word}" for name, word in limits if key[name] is not None)
    kind = "admin" if key["admin"] else "plain"
    return key["id"], key["name"], kind, allows or "everything", key["created_at"], key["revoked_at"] or ""
