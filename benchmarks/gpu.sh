#!/usr/bin/env bash
# What has to be seen on a GPU, in pieces that fit ten minutes: the tests that need one, then the grid of costs. What is
# finished is kept, so that the same command goes on where the last one stopped.
#
#     benchmarks/gpu.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
end=$((SECONDS + ${1:-570}))
output=${OUT:-runs}/gpu
mkdir -p "$output"
make install
# A limit of 0 would be none.
in_time() { [ $((end - SECONDS)) -gt 0 ] && timeout --signal=INT --kill-after=20 $((end - SECONDS)) "$@"; }
if ! [ -e "$output/tests.xml" ]; then
    # Written under its own name only when all tests have run, passed or failed.
    in_time .venv/bin/python -m pytest tests/training/test_gpu.py tests/training/test_waiting.py -q \
        --junitxml "$output/tests.part.xml" && status=0 || status=$?
    [ "$status" -le 1 ] && [ -e "$output/tests.part.xml" ] && mv "$output/tests.part.xml" "$output/tests.xml"
fi
in_time .venv/bin/pact bench --grid gpu --steps 5 --profile -o "$output" || true
echo "Kept in $output: $(ls "$output" | tr '\n' ' ')"
