from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from demosearch.models import choice, timing
from demosearch.models.choice import automatic_precision
from demosearch.models.known import resolve
from demosearch.models.loading import load
from demosearch.models.precision import Precision
from demosearch.models.timing import REPEATS, Timing, fastest_on_cpu, time_products


def clock(fp32: list[float], bf16: list[float]) -> Callable[[], float]:
    """A clock by which the products take these seconds, the first ones for warming up."""
    now = 100.0

    def times() -> Iterator[float]:
        nonlocal now
        for pair in zip(fp32, bf16, strict=True):
            for seconds in pair:
                yield now
                now += seconds
                yield now
                now += 7

    ticks = times()
    return lambda: next(ticks)


def test_the_median_counts_without_the_first_product() -> None:
    fp32 = [0.02, 0.002, 0.003, 0.05, 0.001, 0.003]
    bf16 = [0.001, 0.004, 0.005, 0.006, 0.007, 0.05]
    measured = time_products(300, clock(fp32, bf16))
    assert (measured.width, measured.fp32, measured.bf16) == (
        300,
        pytest.approx(3),
        pytest.approx(6),
    )
    assert len(fp32) == REPEATS + 1


def test_a_slow_cpu_multiplies_only_once_more() -> None:
    measured = time_products(300, clock([0.1, 0.2], [0.4, 0.9]))
    assert (measured.fp32, measured.bf16) == (pytest.approx(200), pytest.approx(900))


def test_timing_leaves_threads_and_random_state_alone() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    time_products(256)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("fp32", "bf16", "expected"),
    [(1.0, 2.0, "fp32"), (1.0, 1.0, "fp32"), (1.19, 1.0, "fp32"), (1.21, 1.0, "bf16")],
)
def test_bfloat16_must_be_clearly_faster(fp32: float, bf16: float, expected: str) -> None:
    assert Timing(width=256, fp32=fp32, bf16=bf16).precision == expected


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, as on a new machine."""
    monkeypatch.setenv("DEMOSEARCH_CACHE", str(tmp_path / "cache"))
    timing._measured.cache_clear()
    yield tmp_path / "cache"
    timing._measured.cache_clear()


def measuring(monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float) -> list[int]:
    """Let products take these milliseconds; return the list of widths that are timed."""
    widths: list[int] = []

    def measure(width: int) -> Timing:
        widths.append(width)
        return Timing(width=width, fp32=fp32, bf16=bf16)

    monkeypatch.setattr(timing, "time_products", measure)
    return widths


def test_a_machine_measures_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    widths = measuring(monkeypatch, 1, 2)
    assert [fastest_on_cpu(width) for width in (48, 576, 8192)] == ["fp32"] * 3
    assert widths == [256, 576, 1024]
    assert caplog.messages[1] == (
        "precision fp32: a product of width 576 takes 1.00 ms in fp32 and 2.00 ms in bf16"
    )
    # Another process, while the machine is under load.
    timing._measured.cache_clear()
    measuring(monkeypatch, 9, 1)
    assert fastest_on_cpu(576) == "fp32"
    assert len(list((cache / "precision").iterdir())) == 3
    # A damaged file is replaced.
    for path in (cache / "precision").iterdir():
        path.write_text('{"width": 576, "fp')
    timing._measured.cache_clear()
    assert fastest_on_cpu(576) == "bf16"
    timing._measured.cache_clear()
    measuring(monkeypatch, 1, 9)
    assert fastest_on_cpu(576) == "bf16"


def test_the_first_of_two_processes_decides(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write = timing._write

    def late(path: Path, measured: Timing) -> None:
        write(path, Timing(width=576, fp32=9, bf16=1))
        write(path, measured)
        written.append(path)

    measuring(monkeypatch, 1, 2)
    monkeypatch.setattr(timing, "_write", late)
    assert fastest_on_cpu(576) == "bf16"
    assert list((cache / "precision").iterdir()) == written


def test_without_a_cache_it_is_measured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file in place of the folder")
    measuring(monkeypatch, 1, 2)
    assert fastest_on_cpu(576) == "fp32"


def test_the_width_is_that_of_the_model(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def fastest(width: int) -> Precision:
        asked.append(width)
        return Precision.FP32

    monkeypatch.setattr(choice, "fastest_on_cpu", fastest)
    assert automatic_precision(resolve("opt-2.7b"), "cpu") == "fp32"
    assert automatic_precision(resolve(str(tiny("gpt2"))), "cpu") == "fp32"
    assert asked == [2560, 48]


def test_a_named_precision_and_a_gpu_are_not_timed(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "fastest_on_cpu", lambda width: pytest.fail("timed"))
    folder = resolve(str(tiny("llama")))
    assert load(folder, precision="bf16", device="cpu").record.precision == "bf16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert automatic_precision(folder, "cuda:0") == "fp16"
    # Processes of torchrun go by the instructions, in which they agree.
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert automatic_precision(folder, "cpu") == "fp32"


@pytest.mark.parametrize("fastest", [Precision.FP32, Precision.BF16])
def test_a_model_is_loaded_in_the_fastest_precision(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, fastest: Precision
) -> None:
    monkeypatch.setattr(choice, "fastest_on_cpu", lambda width: fastest)
    loaded = load(resolve(str(tiny("opt"))), device="cpu")
    assert loaded.record.precision == fastest
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    assert {weights.dtype for weights in loaded.model.parameters()} == {dtypes[fastest]}
