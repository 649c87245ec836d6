"""What engines print when they fail, what that means, and what to do: a table, first match first.

Lines as llama.cpp b9596 to b11434 print them, seen in failing starts; those marked so are from its
issues.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping

from llmtp.engine.speech import CRASHED, PORT_TAKEN, Cause

_BUILD = "install another llama.cpp build, or name one with --engine"
_EXTRA = "check what stands behind --"
_PAIR = Cause(
    "main model and drafter do not fit each other: {0}",
    "check the files with: llmtp check MAIN DRAFT",
    "pair",
)
_OLD = Cause("this build is too old for the file: {0}", f"{_BUILD}; a newer one", "engine-too-old")
_DAMAGED = Cause(
    "a model file is damaged: {0}",
    "look at it with: llmtp check FILE; get it anew with: llmtp pull MODEL",
    "bad-file",
)
_LIBRARY = Cause("a shared library is missing: {0}", "reinstall the engine", "engine-library")
_PLACE = Cause(
    "parts of the models are on devices that cannot work together: {0}",
    "leave out flags behind -- that move layers, the drafter or the cache",
    "drafter-device",
)
_GPU = Cause(
    "the GPU or its driver failed: {0}",
    "restart the driver or the machine; update the driver; use another build",
    "gpu-fault",
)

#: What a line says, and the cause; `{0}` in its words is what the group found. Without a worker its
#: devices are invalid arguments, so workers stand first.
CAUSES = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        (
            r"Remote RPC server crashed or returned malformed response",
            Cause(
                "a worker is gone, or said what nobody understands",
                "see on its machine why it ended; llmtp worker starts it again",
                "worker-lost",
            ),
        ),
        (
            r"Failed to connect to (\S+:\d+)$",
            Cause(
                "the worker {0} cannot be reached",
                "start it there with: llmtp worker --host ADDRESS",
                "worker-silent",
            ),
        ),
        (
            r"RPC server version mismatch: ([\d.]+)",
            Cause(
                "a worker is of another build: it speaks RPC {0}",
                "install the same llama.cpp on all machines",
                "worker-build",
            ),
        ),
        (
            r'handling argument "(.+?": the argument has been removed\..*)',
            Cause(
                'this build has no such flag any more: "{0}',
                "write it as this build wants it, or leave it out",
                "engine-flags",
            ),
        ),
        (
            r"invalid argument: (.*)",
            Cause(
                "this build does not know {0}",
                "leave it out behind --, or use another build",
                "engine-flags",
            ),
        ),
        (
            r"error while handling ((?:argument|environment variable) \S+): sto[a-z]+$",
            Cause("it refuses {0}: not a number that it can hold", _EXTRA, "engine-flags"),
        ),
        (
            r"error while handling ((?:argument|environment variable) .*)",
            Cause("it refuses {0}", _EXTRA, "engine-flags"),
        ),
        (
            r"couldn't bind",
            PORT_TAKEN,
        ),
        (r"error while loading shared libraries: (.*)", _LIBRARY),
        (r"symbol lookup error: (.*)", _LIBRARY),
        (
            r"(version `\S+' not found)",
            Cause(
                "it was built for a newer system: {0}",
                "use a build for this system",
                "engine-library",
            ),
        ),
        (r"((?:unknown|unsupported) model architecture: .*)", _OLD),
        (r"(unknown (?:tokenizer|pre-tokenizer type): .*)", _OLD),
        (r"(has invalid ggml type \d+)", _OLD),
        (r"(this GGUF file is version \d+ but this software only supports .*)", _OLD),
        (
            r"failed to open GGUF file (.*)",
            Cause("it cannot open {0}", "look at the file's path and permissions", "bad-file"),
        ),
        (r"(pre-allocated tensor .* cannot run the operation)", _PLACE),
        (r"(GGML_BACKEND_SPLIT_AXIS\w*)", _PLACE),
        (r"(device \S+ does not support split buffers)", _PLACE),
        (r"GGML_ASSERT\((ggml_can_mul_mat\(.*)\) failed", _PAIR),
        (r"GGML_ASSERT\((view_src == NULL .*)\) failed", _PAIR),
        (r"GGML_ASSERT\((hparams\.\w+.*)\) failed", _PAIR),
        (r"(context type MTP requested but model doesn't contain MTP layers)", _PAIR),
        (r"(Gemma 4 assistant requires .*)", _PAIR),
        (r"(data is not within the file bounds, model is corrupted or incomplete)", _DAMAGED),
        (r"(invalid magic characters: .*)", _DAMAGED),
        (r"gguf_init_from\w+: (.*)", _DAMAGED),
        (r"error loading model: (.*)", _DAMAGED),
        (
            r"failed to initialize the context: (.*)",
            Cause("it cannot make a context: {0}", "use a smaller --ctx; " + _EXTRA),
        ),
        # From issues of llama.cpp, not seen here.
        (r"(no kernel image is available.*)", _GPU),
        (r"((?:CUDA|driver) .*driver version is insufficient.*)", _GPU),
        (r"(\S*(?:ErrorDeviceLost|DEVICE_LOST)\S*)", _GPU),
        (r"((?:CUDA|ROCm) error.*)", _GPU),
        (
            r"(GGML_(?:ASSERT|ABORT)\(.*)",
            Cause(
                "it aborted: {0}",
                "check the files with: llmtp check MAIN DRAFT; else report it to llama.cpp",
                "engine-aborted",
            ),
        ),
    )
)

SIGNALS: Mapping[int, Cause] = {
    signal.SIGILL: Cause(
        "it was built for another CPU (illegal instruction)",
        "install a build for this CPU",
        "engine-cpu",
    ),
    signal.SIGKILL: Cause(
        "it was killed (SIGKILL), by somebody or by the system for lack of memory",
        "see whether memory ran out: a smaller --ctx or quant needs less",
        "killed",
    ),
    signal.SIGBUS: Cause(
        "a file changed under it, or is on a broken disk (SIGBUS)",
        "look at the model's files with: llmtp check FILE",
        "bad-file",
    ),
    signal.SIGSEGV: Cause(
        "it crashed (SIGSEGV)",
        "use a smaller --ctx, and check the files with: llmtp check MAIN DRAFT; else report it to "
        "llama.cpp",
        CRASHED,
    ),
}
