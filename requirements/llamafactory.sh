#!/bin/sh
# What requirements/llamafactory.lock cannot say, after its packages are in the environment $1.
set -eu

# LLaMA-Factory imports torchaudio whatever it trains. The wheels on the package index are linked against CUDA and
# cannot be loaded beside a CPU build of torch. Without its compiled extensions torchaudio imports as pure Python, which
# is a mode of its own (_extension/__init__.py looks for the files); text training never calls it.
if "$1/bin/python" -c 'import sys, torch; sys.exit(torch.version.cuda is not None)'; then
    find "$1" -path '*/torchaudio/lib/*.so' -delete
fi

# The test of LLaMA-Factory's web page needs a browser. It is a system package, so only a fresh Debian machine (a
# container, continuous integration), where root runs this, is given one. Elsewhere that test is skipped and says so.
if ! command -v chromedriver >/dev/null && [ "$(id -u)" = 0 ] && grep -qx 'ID=debian' /etc/os-release 2>/dev/null; then
    (apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        chromium chromium-driver >/dev/null) || echo "no Chromium: LlamaBoard's page will not be tested" >&2
fi
