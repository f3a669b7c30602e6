"""Every situation of the campaign: what PACT adds to the gradient is autograd's, or training stops with a line."""

import pytest

from tests.reliability.campaign import apart
from tests.reliability.situations import SITUATIONS


@pytest.mark.reliability
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_added_is_autograds(name: str) -> None:
    outcome, wanted = apart(name), SITUATIONS[name].wanted
    if outcome.result == "fails without PACT":
        pytest.skip(outcome.detail)
    assert outcome.result == ("exact" if wanted == "exact" else "stopped"), outcome.detail
    assert wanted == "exact" or wanted in outcome.detail
