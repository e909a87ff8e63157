"""Which of several upstreams answers what is no job: one that can run the model it is about, or all that are well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foreman import clock
from foreman.domain.schedule import Server, preferred, well
from foreman.domain.upstream import Standing, servers
from foreman.errors import StoreUnavailable
from foreman.net.passthrough import Passthrough
from foreman.store.upstreams import Upstreams


@dataclass(frozen=True, slots=True)
class Ways:
    """The way to each upstream, by its name."""

    by_name: Mapping[str, Passthrough]
    upstreams: Upstreams

    @property
    def single(self) -> Passthrough | None:
        """The way to the only upstream, which is asked everything; ``None``: there are several."""
        [first, *others] = self.by_name.values()
        return None if others else first

    def to(self, model: str | None) -> Sequence[Passthrough]:
        """The ways to try, the best first; none: no upstream may be asked for ``model``. ``None``: any will do."""
        if (only := self.single) is not None:
            return [only]
        known = self._servers()
        found = well(known) if model is None else preferred(known, model)
        ways = [self.by_name[each.name] for each in found]
        # What Ollama's clients ask is known to Ollama only.
        return [way for way in ways if not way.openai] or ways

    def all(self) -> Sequence[Passthrough]:
        """The ways to all that are well; to all if none is."""
        if (only := self.single) is not None:
            return [only]
        return [self.by_name[each.name] for each in well(self._servers())]

    def _servers(self) -> list[Server]:
        try:
            standings = self.upstreams.standings()
        except StoreUnavailable:
            # No job, so no reason to wait for the database.
            standings = [Standing(each) for each in self.upstreams.slots]
        return servers(standings, clock.now())
