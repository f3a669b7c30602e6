"""What would train unprotected, or with a wrong reference, stops with an error that names the key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pact_lab.tiny_world import aligned_path
from tests.axolotl import runs
from tests.axolotl.conftest import ROWS
from tests.axolotl.runs import BASE, LORA, PLUGIN

COMMON = {**BASE, **LORA, "plugins": [PLUGIN]}
REFERENCE = {"reference": {"path": str(aligned_path())}}


def load(tmp_path: Path, settings: dict[str, Any], *, activated: bool = False) -> runs.Run:
    """Read a configuration as every command of Axolotl does."""

    def read() -> None:
        from axolotl.cli import config

        if activated:
            from pact_axolotl import short_name

            short_name.install(config)
            short_name.install(config)
        print("plugins:", config.load_cfg("config.yml").plugins)

    runs.prepare(tmp_path, settings, ROWS)
    return runs.in_fork(tmp_path, read)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pact": {"term": {"wieght": 1}}}, "pact.term.wieght: unknown key; did you mean 'weight'?"),
        ({"pact": {"preset": "match", "term": {"weight": -1}}}, "pact.term.weight: must be greater than 0"),
        ({"pact": {"term": {"mixture": {"alfa": 1}}}}, "pact.term.mixture.alfa: unknown key; did you mean 'alpha'?"),
        ({"pact": "match"}, "pact: expected a mapping of settings, found 'match'"),
        ({"pact": False}, "pact: false has no meaning"),
        (
            {"pcat": {"preset": "match", "term": {"weight": 1}}},
            "pcat: unknown key, which Axolotl would ignore; did you mean 'pact'?",
        ),
        ({"pact_config": {}}, "pact_config: unknown key"),
        ({"PACT": {}}, "PACT: unknown key"),
        ({"plugins": [PLUGIN, "pact_axolotl.axolotl_plugin.PACTPlugin"]}, "plugins: lists PACT 2 times"),
        ({"rl": "dpo"}, "rl: dpo does not go with PACT"),
        ({"context_parallel_size": 2}, "context_parallel_size: 2 does not go with PACT"),
        ({"pretraining_dataset": "x"}, "pretraining_dataset: x does not go with PACT"),
        ({"lora_model_dir": "./old"}, "lora_model_dir: training continues an adapter"),
        ({"relora": True}, "relora: the adapter is merged into the base weights again and again"),
        ({"peft_init_lora_weights": "pissa_niter_4"}, "peft_init_lora_weights: pissa_niter_4: this initialisation"),
        ({"peft": {"loftq_config": {"loftq_bits": 4}}}, "peft.loftq_config: LoftQ rewrites the base weights"),
    ],
)
def test_an_error_names_the_key(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    run = load(tmp_path, {**COMMON, **settings})
    assert run.returncode != 0
    assert f"ConfigurationError: {message}" in run.log, run.log[-2000:]


@pytest.mark.parametrize(
    "settings",
    [
        {"pact": True},
        {"pact": None},
        {"peft_init_lora_weights": "pissa_niter_4", "pact": REFERENCE},
        {"lora_model_dir": "./old", "pact": {"reference": {"kind": "frozen_copy"}}},
        {"rl": None, "context_parallel_size": 1},
    ],
)
def test_what_is_right_is_accepted(tmp_path: Path, settings: dict[str, Any]) -> None:
    load(tmp_path, {**COMMON, **settings}).succeeded()


@pytest.mark.parametrize("plugins", ["pact", ["pact"], "PACT", [PLUGIN], PLUGIN])
def test_the_short_name_in_every_form(tmp_path: Path, plugins: Any) -> None:
    run = load(tmp_path, {**COMMON, "plugins": plugins}, activated=True).succeeded()
    assert f"plugins: ['{PLUGIN}']" in run.log


@pytest.mark.parametrize("plugins", ["pact", ["pact"]])
def test_the_short_name_without_enable_is_an_error(tmp_path: Path, plugins: Any) -> None:
    """Of Axolotl's own, which takes names apart at their last dot: no plain run."""
    run = load(tmp_path, {**COMMON, "plugins": plugins})
    assert run.returncode != 0
    assert "ValueError: not enough values to unpack" in run.log


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plugins": None, "pact": {}}, "pact: stands in the configuration, but the plugin does not"),
        ({"plugins": None, "pcat": {}}, "pcat: unknown key"),
    ],
)
def test_nothing_is_ignored_once_enabled(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    """Stock Axolotl ignores the key and trains."""
    settings = {key: value for key, value in {**COMMON, **settings}.items() if value is not None}
    stock = load(tmp_path / "stock", settings)
    assert stock.returncode == 0
    run = load(tmp_path / "enabled", settings, activated=True)
    assert run.returncode != 0
    assert f"ConfigurationError: {message}" in run.log, run.log[-2000:]


def test_a_misspelt_plugin_stops_the_run_once_enabled(tmp_path: Path) -> None:
    """Axolotl 0.19 logs the failed import and trains on; 0.21 stops by itself."""
    settings = {**COMMON, "plugins": ["pact_axlotl.PACTPlugin"]}
    stock = load(tmp_path / "stock", settings)
    run = load(tmp_path / "enabled", settings, activated=True)
    assert run.returncode != 0
    logs_only = "ConfigurationError: plugins: pact_axlotl.PACTPlugin could not be imported"
    stops = "ModuleNotFoundError: No module named 'pact_axlotl'"
    assert (logs_only if stock.returncode == 0 else stops) in run.log, run.log[-2000:]


def test_other_runs_are_left_alone(tmp_path: Path) -> None:
    settings = {key: value for key, value in COMMON.items() if key != "plugins"}
    load(tmp_path, settings, activated=True).succeeded()


def test_a_plugin_that_cannot_be_imported_stops_the_run(tmp_path: Path) -> None:
    """Axolotl 0.19 logs an ImportError of a plugin and trains on without it."""

    def read() -> None:
        from axolotl.cli.config import load_cfg

        for name in [name for name in sys.modules if name.startswith("pact_axolotl")]:
            del sys.modules[name]
        sys.modules["pact_plugins.training"] = None  # type: ignore[assignment]
        load_cfg("config.yml")

    runs.prepare(tmp_path, COMMON, ROWS)
    run = runs.in_fork(tmp_path, read)
    assert run.returncode != 0
    assert "AttachmentError: pact_axolotl.PACTPlugin cannot be imported: " in run.log


def test_one_process_many_configurations(tmp_path: Path) -> None:
    """Axolotl keeps a plugin registered for later configurations: a run that does not list it stays as it is."""

    def read() -> None:
        from axolotl.cli.config import load_cfg
        from axolotl.integrations.base import PluginManager

        load_cfg("config.yml")
        stock = load_cfg("stock.yml")
        assert PLUGIN in PluginManager.get_instance().plugins
        assert PluginManager.get_instance().add_callbacks_post_trainer(stock, None) == []

    runs.prepare(tmp_path, {key: value for key, value in COMMON.items() if key != "plugins"}, ROWS)
    (tmp_path / "config.yml").rename(tmp_path / "stock.yml")
    runs.prepare(tmp_path, COMMON, ROWS)
    runs.in_fork(tmp_path, read).succeeded()


def test_telemetry_would_redact_our_paths() -> None:
    from axolotl.telemetry.manager import TelemetryManager

    from pact_axolotl.axolotl_plugin import _redact_our_paths
    from pact_plugins.config import PACTConfig

    _redact_our_paths()
    manager = object.__new__(TelemetryManager)
    manager.whitelist = {"organizations": []}
    texts = {
        block: {
            key: "/secret/place" for key, field in model.model_fields.items() if field.annotation in (str, str | None)
        }
        for block, model in PACTConfig.blocks().items()
    }
    redacted = manager._redact_paths({"pact": texts})["pact"]
    kept = {f"{block}.{key}" for block, keys in redacted.items() for key, value in keys.items() if "secret" in value}
    assert kept == {"term.objective", "safety_tokens.scorer", "reference.kind", "reference.assistant_header"}
