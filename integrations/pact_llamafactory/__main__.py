"""``python -m pact_llamafactory train cfg.yaml``: llamafactory-cli with PACT in it."""

from __future__ import annotations

import sys

from pact_llamafactory.launcher import launch
from pact_plugins.errors import PACTError

if __name__ == "__main__":
    try:
        sys.exit(launch(sys.argv[1:]))
    except PACTError as error:
        sys.exit(f"Error: {error}")
