"""``python -m pact_axolotl.worker CONFIG``: Axolotl's training process, started by ``axolotl pact train``."""

from __future__ import annotations

import runpy

from pact_axolotl.launch import use_short_name

if __name__ == "__main__":
    use_short_name()
    runpy.run_module("axolotl.cli.train", run_name="__main__", alter_sys=True)
