"""Test-wide numerics: float64, strict promotion, and the place of the optional development data."""

import gc
import os
import pathlib

# before JAX is loaded; see nlhf.environment.widen_pool
os.environ.setdefault("NPROC", "8")

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


# Three quarters of a test's time are XLA's, compiling programs that run for a moment. These choose the
# quicker of its two code generators and spare LLVM's slow passes: half the time in all. The slow tests, and
# programs that are started with an environment of their own, compile as users do.
QUICK_COMPILATION = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1 "
    "--xla_llvm_disable_expensive_passes=true"
)


def pytest_configure(config: pytest.Config) -> None:
    """Choose how programs are compiled, before the first one is, and keep them for the next run."""
    # a version that does not know a flag ends the process: newer ones have the one code generator alone
    if config.option.markexpr == "not slow" and jax.__version_info__[:2] == (0, 10):
        os.environ.setdefault("XLA_FLAGS", QUICK_COMPILATION)
    if not hasattr(config, "cache"):  # pytest was told to keep nothing
        return
    # a folder a worker: two that write the same file at once could read it half written
    kept = config.cache.mkdir(f"xla-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}")
    jax.config.update("jax_compilation_cache_dir", str(kept))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True, scope="module")
def room_for_programs():
    """Drop compiled programs before they take all the memory mappings that Linux gives a process, 65,530.

    Every program holds some of them; the next compilation after the last one ends the process.
    """
    yield
    mappings = pathlib.Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of development data named by NLHF_SHARED; in CI its absence is a failure, not a skip."""
    folder = os.environ.get("NLHF_SHARED", "")
    path = pathlib.Path(folder)
    if folder and path.is_dir():
        return path
    if os.environ.get("CI"):
        pytest.fail(f"NLHF_SHARED is {folder!r}, but in CI it must name the folder of development data")
    pytest.skip("NLHF_SHARED does not name a folder of development data")
