#!/bin/sh
# After the packages of requirements/llamafactory.lock are in the environment $1: make torchaudio importable.
#
# LLaMA-Factory imports torchaudio whatever it trains. The wheels on the package index are linked against CUDA and
# cannot be loaded beside a CPU build of torch. Without its compiled extensions torchaudio imports as pure Python, which
# is a mode of its own (_extension/__init__.py looks for the files); text training never calls it.
set -eu
if "$1/bin/python" -c 'import sys, torch; sys.exit(torch.version.cuda is not None)'; then
    find "$1" -path '*/torchaudio/lib/*.so' -delete
fi
