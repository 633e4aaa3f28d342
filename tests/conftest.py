"""Eight virtual devices and checked shapes, for the whole suite.

JAX's own setting rather than XLA_FLAGS makes the devices, so that a command which a
test starts as a child process sees the machine as a user would. What is compiled is
compiled once for all processes of a run of the suite, children included; what they keep
of texts is theirs alone.
"""

import atexit
import os
import shutil
import tempfile
from importlib.metadata import version

# Read when jax is imported. A folder that is given is kept for the next run.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    CACHE = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

if "PYTEST_XDIST_WORKER" not in os.environ:
    TEXTS = tempfile.mkdtemp(prefix="texts-")
    atexit.register(shutil.rmtree, TEXTS, ignore_errors=True)
    os.environ["ATTENTION_ZOO_CACHE"] = TEXTS

# XLA runs the independent sums of a program side by side, and each holds a thread for
# every device until all have come: eight threads for eight devices can wait for ever.
os.environ.setdefault("NPROC", "32")
# Models of width 16 are compiled for longer than they run.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_parallel_codegen_split_count=1",
    ]
)
if version("jaxlib").startswith("0.10."):  # later ones have no choice
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

# A busy machine is no fault of an example.
hypothesis.settings.register_profile("zoo", deadline=None)
hypothesis.settings.load_profile("zoo")

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)

# From here on an import of zoo wraps each function, so that beartype checks its
# annotations, shapes and dtypes included, at every call. As for a type checker, an int
# will do where a float is asked for.
install_import_hook(
    "zoo", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    """A real browser, where there is one."""
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        # As root, Chromium runs only without its sandbox.
        options = {"executable_path": path, "args": ["--no-sandbox"]}
        with playwright.chromium.launch(**options) as launched:
            yield launched
