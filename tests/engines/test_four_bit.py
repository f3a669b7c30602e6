"""QLoRA on the CPU with the real bitsandbytes, in the environment that has it."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.engines import launching
from tests.engines.conftest import read
from tests.helpers.tiny import save_model, tiny_llama
from tests.helpers.trainers import python_path

pytestmark = [pytest.mark.framework, pytest.mark.matrix]


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four_bit")
    # Dimensions of whole blocks of 64: some processors' kernels take no others.
    model = save_model(folder / "start", tiny_llama(hidden_size=64, intermediate_size=128))
    case = {"model": model, "adapter": "lora", "learning_rate": 0.5, "four_bit": True}
    cases = {
        "plain": {**case, "config": {"preset": "off"}},
        "pact": {**case, "config": {"preset": "match", "term": {"weight": 4.0}}},
    }
    command = [launching.engines_python(), "-m", "tests.engines.worker", "none", folder, json.dumps(cases)]
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=launching.ROOT,
        env=python_path(),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-6000:]
    return folder


def test_the_quantised_model_is_its_own_reference(quantised):
    """Zero at zero drift, to the last bit: the reference runs through the same 4-bit weights."""
    parameters, facts = read(quantised / "pact")
    assert facts["quantised"] == 14  # seven linear layers in each of two blocks
    assert facts["logs"][0]["pact/kl"] == 0
    assert facts["logs"][1]["pact/kl"] > 0
    plain, _ = read(quantised / "plain")
    first = [key for key in plain if key.startswith("1.")]
    second = [key for key in plain if key.startswith("2.")]
    assert all((plain[key] - parameters[key]).abs().max() <= 1e-6 for key in first)
    assert max(float((plain[key] - parameters[key]).abs().max()) for key in second) > 1e-4
