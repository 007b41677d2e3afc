"""What Playbill sets for the whole process, each with its reason. Nothing else in the package sets such a thing.

A variable of the environment is set only where the user hasn't set it, and before the library that reads it is loaded.
Loads no library itself.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "BATCH_INVARIANT",
    "VLLM_SETTINGS",
    "compute_with_threads",
    "give_memory_back",
    "hide_torch",
    "interrupts_wait",
    "prepare_ray",
    "prepare_vllm",
    "quiet_libraries",
    "show_torch",
    "sum_alike",
    "use_tiled_kernels",
    "wait_briefly",
]

BATCH_INVARIANT = "VLLM_BATCH_INVARIANT"
VLLM_SETTINGS = {
    # In this process there is one start instead of three, no second import of the user's script, and no children.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}


def wait_briefly() -> None:
    """Let OpenMP's threads sleep soon while they wait. Call it before OpenMP is loaded.

    Threads that spin make an engine dozens of times slower as soon as another process needs a core; threads that sleep
    at once cost a quarter of the rate where none does. GCC's library can spin for some thirty microseconds first.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def quiet_libraries() -> None:
    """Let transformers and the hub library log errors only: what they warn of, Playbill finds and says itself."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Keep Ctrl-C for the end of a native call that takes the signal for itself, and give it back to Python then.

    A library that ends its own work at the signal, while we wait for that work, would be waited for for ever.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is None or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def compute_with_threads(count: int) -> None:
    """Let torch compute with so many CPU threads in the calling thread; OpenMP counts them for each thread."""
    import torch

    torch.set_num_threads(count)


def give_memory_back() -> None:
    """Free what nothing refers to any more, and the cache that torch keeps of a GPU's memory, for the next model.

    vLLM hides what it has loaded from Python's garbage collection, which would find none of it.
    """
    gc.unfreeze()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def sum_alike() -> None:
    """Let CUDA's matrix products sum in one order for one shape, and in full precision. Call it before they are used.

    With a workspace of its own choice cuBLAS may choose another kernel when several streams compute; TF32 and sums in
    half precision are faster, and other numbers than a CPU's.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def hide_torch() -> None:
    """Let transformers believe that there is no torch, in a process that will load no weights.

    It imports torch wherever it finds it, which takes longer than all else that `playbill check` and its like do.
    """
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


def show_torch() -> None:
    """Undo `hide_torch` for a model whose processor makes tensors.

    Where transformers was imported without torch already, it is imported anew; what was loaded with it goes on working.
    """
    if sys.modules.get("torch", sys) is not None:
        return
    del sys.modules["torch"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        del sys.modules[name]


def use_tiled_kernels(wanted: bool) -> str:
    """Choose whether llama.cpp multiplies K-quants in tiles, and return the setting in effect.

    llama.cpp reads it once in a process: the user's word counts, or that of the first model.
    """
    return os.environ.setdefault("GGML_CPU_TILED_MM", "1" if wanted else "0")


def prepare_vllm(*, cpu: bool, eager: bool, exact: bool = False) -> None:
    """Set what vLLM reads from the environment, before vLLM is imported. ``cpu``: its package for machines without
    GPU; ``exact``: its batch-invariant kernels."""
    if exact:
        os.environ[BATCH_INVARIANT] = "1"
    for name, value in VLLM_SETTINGS.items():
        os.environ.setdefault(name, value)
    if os.environ["VLLM_LOGGING_LEVEL"] == VLLM_SETTINGS["VLLM_LOGGING_LEVEL"]:
        logging.getLogger("vllm").setLevel(logging.ERROR)  # it speaks before it has read that
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
    if cpu and eager:
        # vLLM compiles a function or two even so, in the middle of a request: ten seconds the first time, and an
        # end of the engine where there is no C++ compiler.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    if cpu:
        # With a number of requests that the threads don't divide, its attention splits one among them, and they spin
        # until all are done: where another process has the core, for milliseconds, in each layer.
        os.environ.setdefault("VLLM_CPU_ATTN_SPLIT_KV", "0")


def prepare_ray(*, loopback: bool = False, token: bool = False) -> None:
    """Set what Ray reads from the environment, before it is imported or joined.

    ``loopback``: the cluster is on this machine alone. Ray else puts the machine's own address in its place, and
    listens on the network. ``token``: its head wants one, which Ray finds by itself for no address but its own.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a late call would start a cluster of its own
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "86400")  # it ends this process otherwise
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # it warns of a change to come otherwise
    if token:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if loopback:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
