#!/usr/bin/env bash
# The real model's whole grid on a machine with a GPU, in pieces that fit ten minutes: what is finished is kept, so
# that the same command goes on where the last one stopped.
#
#     PACT_DATA_PATH=/path/to/data benchmarks/natural_grid.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-570}
output=${OUT:-runs}/natural
make natural
timeout --signal=INT --kill-after=20 "$seconds" .venv/bin/pact compare --world natural --scenarios all \
    --methods sft,match,guard,gate_anchor,anchor,published --seeds 3 --prompts 132 -o "$output" || true
.venv/bin/pact natural-world results "$output" -o "$output/natural.json"
