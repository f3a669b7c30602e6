"""The term on ``trainer.compute_loss``: its gradient against autograd, under accumulation and on two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import compute_loss_runs as runs

pytestmark = pytest.mark.framework

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("compute_loss")
    runs.model(1).save_pretrained(path / "reference")
    return path


@pytest.mark.parametrize("variant", runs.VARIANTS)
@pytest.mark.parametrize(("batch_size", "accumulation"), [(8, 1), (2, 4)])
def test_gradient_is_that_of_the_formula(folder: Path, variant: str, batch_size: int, accumulation: int) -> None:
    found = runs.gradients(variant, folder, batch_size=batch_size, accumulation=accumulation)
    numbers = list(range(runs.ROWS_A_STEP))
    micro_batches = [numbers[start : start + batch_size] for start in range(0, len(numbers), batch_size)]
    assert runs.close(found, runs.expected_gradients(variant, folder, micro_batches)) < TOLERANCE


def test_without_a_token_count_it_is_the_mean_over_micro_batches(folder: Path) -> None:
    """A trainer divides nothing by the steps where the loss function is the user's own, so the term has to.

    The receipts of the run would not be paid otherwise.
    """
    found = runs.gradients("function", folder, batch_size=8, accumulation=1, forget_items=True)
    expected = runs.gradients("function", folder, batch_size=8, accumulation=1)
    assert runs.close(found, expected) < TOLERANCE
    assert runs.gradients("function", folder, batch_size=2, accumulation=4, forget_items=True)


@pytest.mark.matrix
def test_two_processes(folder: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611"]
    root = Path(__file__).parents[2]
    paths = [
        str(root),
        str(root / "integrations"),
        str(root / "evals"),
        str(root / "lab"),
        os.environ.get("PYTHONPATH", ""),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [*command, runs.__file__, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Ranks take turns: 0 has the rows 0, 1 and 4, 5, 1 the others.
    micro_batches = [[0, 1], [2, 3], [4, 5], [6, 7]]
    for variant in runs.VARIANTS:
        found = load_file(folder / f"{variant}.safetensors")
        assert runs.close(found, runs.expected_gradients(variant, folder, micro_batches)) < TOLERANCE, variant
