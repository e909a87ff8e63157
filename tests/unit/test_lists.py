from __future__ import annotations

from typing import Any

import falcon
import pytest

from foreman.api.lists import union


def test_lists_are_put_together_with_each_name_once() -> None:
    """In their order; the first entry of a name stays, and one without a name is left out."""
    one: list[dict[str, Any]] = [{"model": "a", "size": 1}, {"name": "b"}]
    other: list[dict[str, Any]] = [{"name": "c"}, {"model": "a", "size": 2}, {"model": 7}, {}]
    assert union([one, None, other], "model", "name") == [{"model": "a", "size": 1}, {"name": "b"}, {"name": "c"}]
    assert union([[]], "id") == []


def test_no_list_at_all_is_the_upstreams_fault() -> None:
    """An empty one would say that there are no models."""
    with pytest.raises(falcon.HTTPError) as refused:
        union([None, None], "id")
    assert refused.value.status == 502
