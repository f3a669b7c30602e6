"""Files in, parts of them out: same format, same columns, same order; nothing is overwritten by accident."""

from __future__ import annotations

import json
import os

import pytest

from pact_plugins.audit.outputs import Outputs
from pact_plugins.conversation.reading import open_source
from pact_plugins.conversation.reading.conversations import BrokenRow
from pact_plugins.errors import ConfigurationError, DataError

ROWS = [
    {"prompt": "a\u2028b", "completion": "ü", "id": 7, "score": 1.5},
    {"prompt": "c", "completion": "d"},
    {"prompt": "e", "completion": "f", "tags": ["x", {"y": None}]},
]


def test_a_json_list(tmp_path):
    file = tmp_path / "data.json"
    file.write_text(json.dumps(ROWS), encoding="utf-8")
    source = open_source(str(file))
    assert list(source.rows) == ROWS
    source.write([0, 2], tmp_path / "new" / "part.json")
    assert json.loads((tmp_path / "new" / "part.json").read_text(encoding="utf-8")) == [ROWS[0], ROWS[2]]


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_json_lines_are_written_back_as_they_were(tmp_path, name):
    file = tmp_path / name
    lines = [json.dumps(ROWS[0], ensure_ascii=False), '{ "prompt":"c",  "completion" : "d"}', "{broken"]
    file.write_text("\n".join(lines[:2]) + "\n\n" + lines[2], encoding="utf-8")
    source = open_source(str(file))
    assert list(source.rows[:2]) == ROWS[:2]
    assert isinstance(source.rows[2], BrokenRow)
    source.write([1, 2], tmp_path / f"part-{name}")
    assert (tmp_path / f"part-{name}").read_text(encoding="utf-8") == lines[1] + "\n" + lines[2] + "\n"


def test_parquet_keeps_its_schema(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    schema = pyarrow.schema(
        [("prompt", pyarrow.string()), ("completion", pyarrow.large_string()), ("n", pyarrow.int8())],
        metadata={"made_by": "me"},
    )
    table = pyarrow.table({"prompt": ["a", "b", "c"], "completion": ["d", "e", "f"], "n": [1, None, 3]}, schema=schema)
    parquet.write_table(table, tmp_path / "data.parquet")
    source = open_source(str(tmp_path / "data.parquet"))
    assert source.rows[1] == {"prompt": "b", "completion": "e", "n": None}
    for indices in ([0, 2], []):
        source.write(indices, tmp_path / "part.parquet")
        part = parquet.read_table(tmp_path / "part.parquet")
        assert part.equals(table.take(pyarrow.array(indices, pyarrow.int64())))
        assert part.schema.equals(schema, check_metadata=True)


def test_a_folder_and_the_hub_go_through_datasets(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"prompt": p, "completion": p}) + "\n" for p in "abc"))
    source = open_source(str(folder))
    assert [row["prompt"] for row in source.rows] == ["a", "b", "c"]
    for suffix in (".jsonl", ".json", ".parquet"):
        source.write([2, 0], tmp_path / f"part{suffix}")
        again = open_source(str(tmp_path / f"part{suffix}"))
        assert [row["prompt"] for row in again.rows] == ["c", "a"]
    with pytest.raises(DataError, match="split nonsense"):
        open_source(str(folder), split="nonsense")
    with pytest.raises(DataError, match="nobody/nothing is no file here and cannot be loaded") as raised:
        open_source("nobody/nothing")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[1,", "no JSON list"),
        ("a.json", "[]", "holds no row"),
        ("a.jsonl", "\n\n", "holds no row"),
        ("a.json", '{\n"rows": [1]\n}', "one JSON object"),
        ("a.parquet", "PAR1", "no Parquet file"),
        ("a.csv", "a,b", "ends in none of"),
        ("a.json", b"\xff\xfe\x00", "not UTF-8"),
        ("/nowhere/a.jsonl", None, "no such file"),
    ],
)
def test_files_that_are_no_data(tmp_path, name, content, message):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=message):
        open_source(str(file))


def test_a_split_of_a_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}')
    with pytest.raises(ConfigurationError, match="--split and --config"):
        open_source(str(tmp_path / "a.jsonl"), split="train")


def test_outputs_never_replace_the_data_nor_one_another(tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text('{"a": 1}\n')
    source = open_source(str(file))
    link = tmp_path / "hard.jsonl"
    os.link(file, link)
    other = tmp_path / "other.jsonl"
    other.write_text("")
    Outputs(filtered=other, overwrite=True).check(source)
    Outputs(filtered=tmp_path / "new.jsonl", json=tmp_path / "new.json").check(source)
    for outputs, message in [
        (Outputs(filtered=file, overwrite=True), "--filtered: .* is the data itself"),
        (Outputs(flagged=link, overwrite=True), "--flagged: .* is the data itself"),
        (Outputs(html=file), "--html: .* is the data itself"),
        (Outputs(flagged=other), "exists; choose another file, or add --overwrite"),
        (Outputs(filtered=tmp_path / "new.parquet"), "must end in .jsonl or .json"),
        (Outputs(filtered=tmp_path / "n.json", json=tmp_path / "n.json"), "two different outputs"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            outputs.check(source)
