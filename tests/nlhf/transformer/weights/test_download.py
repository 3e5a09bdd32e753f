"""Downloads, with a stand-in for the hub: tests open no connection."""

import ast
import hashlib
import pathlib
import re
import sys
import types

import pytest

from nlhf.errors import InputError
from nlhf.transformer.weights.download import download

ROOT = pathlib.Path(__file__).parents[4]


def hub(monkeypatch, files, error=None):
    """A library that "fetches" these files; returns what it was asked for."""
    asked = {}

    def snapshot_download(name, *, local_dir, **settings):
        asked.update(name=name, **settings)
        if error:
            raise error
        for file, data in files.items():
            path = pathlib.Path(local_dir) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download)
    )
    return asked


def test_name_size_and_hash_of_every_file_are_said(tmp_path, monkeypatch):
    asked = hub(monkeypatch, {"config.json": b"{}", "a/w.safetensors": b"x" * 1234, ".cache/lock": b""})
    lines = []
    assert download("owner/model", tmp_path / "m", revision="abc", say=lines.append) == tmp_path / "m"
    assert lines == [
        f"{name}  {size} bytes  sha256 {hashlib.sha256(data).hexdigest()}"
        for name, size, data in [("a/w.safetensors", "1,234", b"x" * 1234), ("config.json", "2", b"{}")]
    ]
    assert (asked["name"], asked["revision"]) == ("owner/model", "abc")
    assert not any(re.search(r"\.(bin|pt|pth|pkl)$", pattern) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize("name", ["model", "../x/y", "a/b/c", "https://x/y", "owner/", "a b/c"])
def test_what_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="is no name on the hub"):
        download(name, tmp_path)


def test_failures_are_one_line(tmp_path, monkeypatch):
    hub(monkeypatch, {}, ConnectionError("no\nroute"))
    with pytest.raises(InputError, match=r"owner/model: cannot be fetched \(ConnectionError: no route\)"):
        download("owner/model", tmp_path)
    hub(monkeypatch, {})
    with pytest.raises(InputError, match="has no file among"):
        download("owner/model", tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="need the package huggingface_hub"):
        download("owner/model", tmp_path)


def test_only_functions_called_download_know_the_hub():
    users = []
    for path in (ROOT / "nlhf").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        importing = [node for node in ast.walk(tree) if imports_hub(node)]
        named = [
            node
            for function in tree.body
            if isinstance(function, ast.FunctionDef) and function.name == "download"
            for node in ast.walk(function)
        ]
        assert all(node in named for node in importing), path
        users += [path.name] if importing else []
    assert "download.py" in users


def imports_hub(node):
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.split(".")[0] == "huggingface_hub" for name in names)
