"""Judges by name, ours and a stranger's."""

from __future__ import annotations

from types import ModuleType

import pytest

from pact_evals.judges import Judge, JudgeError, JudgeIdentity, Verdict, get_judge
from pact_plugins.hookspecs import hookimpl
from pact_plugins.plugins import get_plugin_manager


class LengthJudge(Judge):
    """Calls short answers refusals."""

    identity = JudgeIdentity("length", "7", "cheap")

    def assess_answers(self, rows):
        return [Verdict("refusal" if len(answer) < 10 else "compliance") for _, answer in rows]


@pytest.fixture
def stranger():
    plugin = ModuleType("stranger")

    @hookimpl
    def register_judges(register):
        register("length", LengthJudge)

    plugin.register_judges = register_judges
    manager = get_plugin_manager()
    manager.register(plugin, name="stranger")
    yield
    manager.unregister(plugin)


def test_a_strangers_judge_is_found_and_works(stranger):
    judge = get_judge("length")
    rows = [{"prompt": "p", "response": text} for text in ("No.", "Yes, take the bus.", "")]
    assert judge.label(rows) == ["refusal", "compliance", "empty"]


def test_a_judge_without_an_identity_of_its_own_signs_with_its_registered_name(stranger, monkeypatch):
    monkeypatch.delattr(LengthJudge, "identity")
    assert get_judge("length").identity.name == "length"
    assert LengthJudge().identity.name == "lengthjudge"


def test_unknown_names_and_settings_are_named():
    with pytest.raises(JudgeError, match=r"no judge 'oracle'; registered are: .*keyword"):
        get_judge("oracle")
    with pytest.raises(JudgeError, match=r"'keyword' does not take these settings \(temperature\)"):
        get_judge("keyword", temperature=1)


def test_a_judge_that_loses_rows_is_an_error():
    class Forgetful(LengthJudge):
        def assess_answers(self, rows):
            return []

    with pytest.raises(JudgeError, match="gave 0 verdicts for 1 rows"):
        Forgetful().label([{"prompt": "p", "response": "r."}])


def test_the_plugin_offers_every_built_in_judge_and_command():
    import click

    from pact_evals import plugin
    from pact_evals.judges.builtin import BUILT_IN

    offered = {}
    plugin.register_judges(register=offered.__setitem__)
    assert offered == BUILT_IN
    group = click.Group()
    plugin.register_commands(cli=group)
    assert set(group.commands) == {"card", "check", "eval", "judge", "report", "tasks-path"}
