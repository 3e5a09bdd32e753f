import errno
import os
import signal
import subprocess
import sys
import time

import jax
import pytest

from experiments.output import records, result_folder
from experiments.output.lock import LOCK, BusyError
from experiments.output.provenance import digest, provenance
from nlhf.errors import InputError

HOLD = """
import sys
from experiments.output import result_folder
with result_folder.claim(sys.argv[1]) as run:
    run.begin("test", {})
    run.add("table.txt", "held")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/out until its stdin closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def write(folder, config=(), kind="test", text="text"):
    with result_folder.claim(folder) as run:
        run.begin(kind, dict(config))
        run.add("table.txt", text)
        run.add_result({}, {"score": 1.0})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_writes_its_files_and_nothing_else(tmp_path):
    write(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == ["result.json", "table.txt"]
    assert result_folder.read_result(tmp_path / "a" / "b") == {
        "kind": "test", "config": {}, "provenance": {}, "result": {"score": 1.0},
    }  # fmt: skip


def fail(folder):
    with result_folder.claim(folder) as run:
        run.add("table.txt", "half")
        raise ZeroDivisionError


def test_a_failed_run_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "a" / "b")
    assert names(tmp_path) == []


def test_a_failed_run_keeps_what_was_there(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "out")
    assert names(tmp_path / "out") == ["notes.txt", "result.json", "table.txt"]
    assert (tmp_path / "out" / "table.txt").read_text() == "text"


def test_the_same_run_may_be_written_again_and_another_may_not(tmp_path):
    write(tmp_path, {"beta": 0.1, "names": ("a",)})
    write(tmp_path, {"beta": 0.1, "names": ("a",)}, text="new")
    assert (tmp_path / "table.txt").read_text() == "new"
    with pytest.raises(InputError, match=r"another run \(beta = 0.1, now 0.2\); choose another --out"):
        write(tmp_path, {"beta": 0.2, "names": ("a",)})
    with pytest.raises(InputError, match=r"another run \(seeds = None, now 3\)"):
        write(tmp_path, {"beta": 0.1, "names": ("a",), "seeds": 3})
    with pytest.raises(InputError, match="holds the result of 'test', not of 'bench'"):
        write(tmp_path, kind="bench")
    assert names(tmp_path) == ["result.json", "table.txt"]


def test_a_folder_with_other_files_may_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path)
    assert names(tmp_path) == ["notes.txt", "result.json", "table.txt"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / ".result.json.tmp").write_text("half")
    (tmp_path / ".profile").write_text("mine")
    write(tmp_path)
    assert names(tmp_path) == [".profile", "result.json", "table.txt"]


@pytest.mark.parametrize("failing", ["write", "replace", "fsync"])
def test_a_full_disk_is_one_message_and_nothing_half_written(tmp_path, monkeypatch, failing):
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if failing == "write":
        monkeypatch.setattr("builtins.open", full)
    else:
        monkeypatch.setattr(os, failing, full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); make room"):
        result_folder.write_files(tmp_path, {"table.txt": b"new", "result.json": b"{}"})
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_result_is_renamed_first(tmp_path, monkeypatch):
    renamed = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (renamed.append(new.name), replace(old, new)))
    with result_folder.claim(tmp_path) as run:
        run.begin("test", {})
        run.add_result({}, {})
        run.add("a.png", b"")
        run.add("z.svg", b"")
    assert renamed == ["result.json", "a.png", "z.svg"]


def test_a_file_that_no_run_wrote_is_not_replaced(tmp_path):
    (tmp_path / "table.txt").write_text("precious")
    with result_folder.claim(tmp_path) as run:
        with pytest.raises(InputError, match=r"table.txt: already exists without a result.json"):
            run.begin("test", {}, ("table.txt",))
        run.files = {}
    assert names(tmp_path) == ["table.txt"]


def save_then_fail(folder):
    with result_folder.claim(folder) as run:
        run.begin("test", {})
        run.add_result({}, {"score": 1.0})
        run.save()
        raise ZeroDivisionError


def test_a_saved_result_survives_a_failure_after_it(tmp_path):
    with pytest.raises(ZeroDivisionError):
        save_then_fail(tmp_path / "out")
    assert names(tmp_path / "out") == ["result.json"]


def test_an_interrupt_while_renaming_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        result_folder.write_files(tmp_path, {"a.png": b"", "z.svg": b""})
    assert names(tmp_path) == []


def test_a_second_process_is_turned_away_at_once(tmp_path, holder, nlhf, game):
    with pytest.raises(BusyError, match=rf"in use by process {holder.pid} on .* since 2.*; wait for it"):
        write(tmp_path / "out")
    start = time.monotonic()
    done = nlhf("solve", game, "--out", tmp_path / "out")
    assert time.monotonic() - start < 1
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert f"process {holder.pid} " in done.err
    done = nlhf("reproduce", "convergence", "--out", tmp_path / "out")
    assert done.code == 3
    holder.communicate()
    assert names(tmp_path / "out") == ["table.txt"]  # the first was not affected
    assert (tmp_path / "out" / "table.txt").read_text() == "held"


def test_a_second_process_is_turned_away_within_a_second(tmp_path, holder, game):
    code = (
        "import time; from experiments.cli import main; import sys; code = main(sys.argv[1:]); "
        "print(time.process_time()); sys.exit(code)"
    )
    words = ["solve", str(game), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert float(done.stdout) < 1  # processor seconds: other tests may share the machine


def test_a_killed_holder_releases_the_folder(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert names(tmp_path / "out") == [LOCK]
    write(tmp_path / "out")
    assert names(tmp_path / "out") == ["result.json", "table.txt"]


def test_a_lock_whose_file_was_removed_locks_nothing(tmp_path, monkeypatch):
    # the holder ends between our open and our lock: we must not end up with a lock on an unlinked file
    opened = []
    real = os.open

    def slow_open(path, *rest):
        descriptor = real(path, *rest)
        if not opened and str(path).endswith(LOCK):
            opened.append(path)
            os.unlink(path)
        return descriptor

    monkeypatch.setattr(os, "open", slow_open)
    with result_folder.claim(tmp_path):
        assert names(tmp_path) == [LOCK]
    assert opened


def test_a_lock_file_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path)
    assert (tmp_path / "target").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(InputError, match="Permission denied"):
            write(folder)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("text", ['{"kind": "test"}', "{}", "[]", "{", '{"a": NaN}', "\udcff"])
def test_a_foreign_result_is_refused_and_kept(tmp_path, text):
    (tmp_path / "result.json").write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=r"result.json"):
        write(tmp_path)
    assert (tmp_path / "result.json").read_text(errors="surrogateescape") == text
    assert names(tmp_path) == ["result.json"]


@pytest.mark.parametrize("name", ["a", "0", "A.b_c-d", "x" * 64])
def test_names_that_are_safe(name):
    assert result_folder.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "a/../../b", "a\0", "a b", "-x", ".x", "é", "x" * 65, "a\n"],
)
def test_names_that_are_not(name, tmp_path):
    with pytest.raises(InputError, match="is not a name"):
        result_folder.check_name(name)
    with pytest.raises(InputError, match="is not a name"), result_folder.claim(tmp_path) as run:
        run.add(name, "")
    assert names(tmp_path) == []


def test_provenance_holds_what_is_needed_and_no_secret(monkeypatch):
    jax.devices()  # XLA reads its flags once, and ends the process on one that it does not know
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("XLA_FLAGS", "--xla_flag")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = provenance()
    assert set(found["versions"]) >= {"python", "nlhf", "jax", "numpy", "scipy"}
    assert found["float64"] is True
    assert found["platform"]
    assert found["environment"]["XLA_FLAGS"] == "--xla_flag"
    assert found["environment"]["JAX_PLATFORMS"] == "cpu"
    assert "hunter2" not in records.dumps(found)
    assert found["commit"] is None or len(found["commit"]) == 40


def test_provenance_outside_a_checkout(monkeypatch):
    monkeypatch.setattr("experiments.output.provenance.__file__", "/nowhere/experiments/provenance.py")
    found = provenance()
    assert found["commit"] is None
    assert found["modified"] is None


def test_provenance_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert provenance()["commit"] is None


def test_digest(tmp_path):
    (tmp_path / "empty").touch()
    assert digest(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
