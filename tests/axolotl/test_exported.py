"""The YAMLs of `pact natural-world export`: Axolotl's own schema knows every key, and its tokens are TRL's."""

from __future__ import annotations

from pathlib import Path

from pact_lab.frameworks.tokens import of_framework
from tests.axolotl import runs
from tests.helpers import exported


def test_axolotl_trains_on_the_tokens_of_trl(tmp_path: Path) -> None:
    plans = [plan for plan in exported.write(tmp_path) if plan.framework == "axolotl"]

    def prepare() -> None:
        from axolotl.cli import config
        from axolotl.cli.args import TrainerCliArgs
        from axolotl.common.datasets import load_datasets
        from axolotl.integrations.config import merge_input_args

        from pact_axolotl import short_name

        short_name.install(config)
        for plan in plans:
            cfg = config.load_cfg(plan.file_name)
            schema = merge_input_args()[0]
            assert [key for key in plan.settings() if key not in schema.model_fields] == []
            assert bool(cfg.plugins) == (plan.method.name == "gate_anchor")
            load_datasets(cfg=cfg, cli_args=TrainerCliArgs())

    runs.in_fork(tmp_path, prepare).succeeded()
    wanted = sorted(exported.expected())
    for plan in plans:
        found = of_framework(tmp_path / "prepared" / plan.name)
        assert sorted((list(ids), list(labels)) for ids, labels in found.elements()) == wanted
