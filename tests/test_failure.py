"""Why an engine ended: what the real one prints in each case, and what is made of it."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import make_pair
from edit import STRING, edit
from harness import WAIT_S, Cli, chat
from make_crafted_pair import CRAFTED, Shape
from oom_logs import LOGS

from llmtp.engine.llama.failure import explain, is_telling
from llmtp.engine.speech import CRASHED, Cause
from llmtp.ports import free_port

NORMAL = "0.01 E llama_init_from_model: Gemma4Assistant requires ctx_other to be set (this warning"


#: What llmtp would start for the pair, which is the same in all homes but for its port.
_DRY_RUN: dict[str, Any] = {}


class Engine:
    """The command that llmtp would start for the pair, to be changed and run."""

    def __init__(self, cli: Cli) -> None:
        if not _DRY_RUN:
            _DRY_RUN.update(cli("run", "crafted", "--dry-run", "--json").json["data"])
        data = _DRY_RUN
        self.argv: list[str] = list(data["argv"])
        self.put("--port", str(free_port()))
        removed = {name for name, value in data["env"].items() if value is None}
        added = {name: value for name, value in data["env"].items() if value is not None}
        self.env = {k: v for k, v in cli.env.items() if k not in removed} | added

    def put(self, flag: str, value: str | Path) -> None:
        self.argv[self.argv.index(flag) + 1] = str(value)

    def fails(
        self, *more: str, limit_bytes: int | None = None, tries: int = 5
    ) -> tuple[Cause, list[str]]:
        """Why it ended, and its telling lines: another thread prints them, and now and then is cut
        off before the last ones."""

        def limited() -> None:
            if limit_bytes:
                resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))

        telling: list[str] = []
        for _ in range(tries):
            done = subprocess.run(
                [*self.argv, *more], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=WAIT_S, preexec_fn=limited,
            )  # fmt: skip
            lines = done.stdout.decode("utf-8", "replace").splitlines()
            if telling := [line for line in lines if is_telling(line)]:
                break
        return explain(done.returncode, telling), telling


@pytest.fixture
def engine(cli: Cli) -> Engine:
    return Engine(cli)


def as_pair(engine: Engine, folder: Path, draft: Shape) -> None:
    """The crafted shape as main model, with a drafter of another one."""
    main, assistant = make_pair(folder, CRAFTED, draft)
    engine.put("--model", main)
    engine.put("--model-draft", assistant)


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        (replace(CRAFTED, width=192), "ggml_can_mul_mat(a, b)"),
        (replace(CRAFTED, kv_heads_sliding=4), "view_src == NULL"),
        (replace(CRAFTED, head_full=64), "view_src == NULL"),
        (replace(CRAFTED, draft_layers=(False, False)), "hparams.is_swa_any()"),
    ],
)
def test_a_bad_pair(engine: Engine, tmp_path: Path, draft: Shape, said: str) -> None:
    as_pair(engine, tmp_path, draft)
    cause, telling = engine.fails()
    assert (cause.rule, said in cause.message) == ("pair", True), cause
    assert cause.message.startswith("main model and drafter do not fit each other: ")
    assert "llmtp check" in cause.fix
    assert not any("ggml_print_backtrace" in line or ".so.0(" in line for line in telling)


def test_a_main_model_as_its_own_drafter(engine: Engine, crafted: Path) -> None:
    engine.put("--model-draft", crafted / "crafted.gguf")
    cause, _ = engine.fails()
    assert (cause.rule, "doesn't contain MTP layers" in cause.message) == ("pair", True)


@pytest.mark.parametrize(
    ("flag", "name"), [("--model", "crafted"), ("--model-draft", "mtp-crafted")]
)
def test_an_unknown_architecture(
    engine: Engine, crafted: Path, tmp_path: Path, flag: str, name: str
) -> None:
    file = tmp_path / "newer.gguf"
    shutil.copy(crafted / f"{name}.gguf", file)
    edit(file, lambda edited: edited.set("general.architecture", STRING, "gemma5"))
    engine.put(flag, file)
    cause, _ = engine.fails()
    assert cause.rule == "engine-too-old"
    assert cause.message.endswith("too old for the file: unknown model architecture: 'gemma5'")
    assert "a newer one" in cause.fix


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--draft-max", "3"], 'no such flag any more: "--draft-max": the argument has been remo'),
        (["--spec-synth-len", "2"], "this build does not know --spec-synth-len"),
        (["--cache-type-k", "q9"], '"--cache-type-k": Unsupported cache type: q9'),
        (["--ctx-size", "99999999999999"], '"--ctx-size": not a number that it can hold'),
        (["--device", "CUDA9"], '"--device": invalid device: CUDA9'),
    ],
)
def test_a_flag_that_is_removed_unknown_or_wrong(
    engine: Engine, words: list[str], said: str
) -> None:
    cause, _ = engine.fails(*words)
    assert (cause.rule, said in cause.message) == ("engine-flags", True), cause


def test_a_port_that_is_taken(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        engine.put("--port", str(other.getsockname()[1]))
        cause, _ = engine.fails()
    assert (cause.rule, cause.message) == ("port-taken", "the port was taken")


@contextmanager
def copied(engine: Engine, folder: Path, change: Callable[[Path], object]) -> Iterator[None]:
    """The engine with one of its libraries changed; the others are links to the real ones."""
    real = Path(engine.argv[0]).resolve().parent
    folder.mkdir()
    for file in real.iterdir():
        (folder / file.name).symlink_to(file)
    program = folder / "llama-server"
    program.unlink()
    shutil.copy(real / "llama-server", program)
    change(folder)
    engine.argv[0] = str(program)
    engine.env["LD_LIBRARY_PATH"] = str(folder)
    yield


def test_a_missing_library(engine: Engine, tmp_path: Path) -> None:
    def remove(folder: Path) -> None:
        for file in folder.glob("libllama.so*"):
            file.unlink()

    with copied(engine, tmp_path / "bin", remove):
        cause, _ = engine.fails()
    assert cause.rule == "engine-library"
    assert cause.message.startswith("a shared library is missing: libllama.so.0: cannot open")


def test_a_library_that_is_none(engine: Engine, tmp_path: Path) -> None:
    def empty(folder: Path) -> None:
        (folder / "libllama.so.0").unlink()
        (folder / "libllama.so.0").touch()

    with copied(engine, tmp_path / "bin", empty):
        cause, _ = engine.fails()
    assert (cause.rule, "file too short" in cause.message) == ("engine-library", True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-1], "not within the file bounds"),
        (lambda data: data[: len(data) // 2], "not within the file bounds"),
        (lambda data: data[:100], "failed to read key-value pairs"),
        (lambda data: b"<!DO" + data[4:], "invalid magic characters: '<!DO'"),
        (lambda data: data[:4] + b"\x09\0\0\0" + data[8:], "only supports up to version 3"),
        (lambda _: b"", "failed to read magic"),
    ],
)
@pytest.mark.parametrize(
    ("flag", "name"), [("--model", "crafted"), ("--model-draft", "mtp-crafted")]
)
def test_a_corrupt_file(
    engine: Engine,
    crafted: Path,
    tmp_path: Path,
    flag: str,
    name: str,
    change: Callable[[bytes], bytes],
    said: str,
) -> None:
    file = tmp_path / "damaged.gguf"
    file.write_bytes(change((crafted / f"{name}.gguf").read_bytes()))
    engine.put(flag, file)
    cause, _ = engine.fails()
    assert cause.rule == ("engine-too-old" if "version" in said else "bad-file")
    assert said in cause.message


def test_a_file_that_is_not_there(engine: Engine) -> None:
    engine.put("--model", "/nowhere/x.gguf")
    cause, _ = engine.fails()
    assert cause.rule == "bad-file"
    assert cause.message == "it cannot open '/nowhere/x.gguf' (No such file or directory)"


def test_a_context_that_is_too_large(engine: Engine) -> None:
    """3 GB of cache where 2 GiB are allowed. The crash may cut off the lines that say so."""
    engine.put("--ctx-size", "25000000")
    cause, _ = engine.fails(limit_bytes=2 << 30, tries=1)
    assert (cause.rule, cause.out_of) in ((CRASHED, None), ("out-of-memory", "RAM"))
    assert "use a smaller --ctx" in cause.fix
    kv = LOGS[("cuda", "model", "KV cache")][0].splitlines()
    assert explain(1, kv).fix.startswith("the context is too large for it: ")


@pytest.mark.parametrize(
    ("line", "returncode"),
    [
        ("/src/ggml-backend.cpp:898: pre-allocated tensor (cache_k_l4) in a buffer (Vulkan0) that "
         "cannot run the operation (NONE)", -6),
        ("/src/ggml-backend-meta.cpp:541: GGML_ASSERT(src_ss[0].axis != "
         "GGML_BACKEND_SPLIT_AXIS_0) failed", -6),
        ("0.00.110.889 E llama_model_load: error loading model: device Vulkan0 does not support "
         "split buffers", 1),
    ],
)  # fmt: skip
def test_a_drafter_on_the_wrong_device(line: str, returncode: int) -> None:
    """As b10068 said on a Vulkan device."""
    cause = explain(returncode, [line])
    assert cause.rule == "drafter-device"
    assert "leave out flags behind -- that move layers" in cause.fix


@pytest.mark.parametrize(
    ("line", "returncode", "rule", "words"),
    [
        ("/src/ggml/src/ggml-rpc/ggml-rpc.cpp:498: Remote RPC server crashed or returned "
         "malformed response", -6, "worker-lost", "a worker is gone"),
        ("0.00.022.872 E Failed to connect to 127.0.0.1:50069", 1, "worker-silent",
         "the worker 127.0.0.1:50069 cannot be reached"),
        ("0.00.022.872 E RPC server version mismatch: 3.6.0", 1, "worker-build",
         "it speaks RPC 3.6.0"),
    ],
)  # fmt: skip
def test_a_worker_that_is_lost(line: str, returncode: int, rule: str, words: str) -> None:
    device = (
        'error while handling argument "--spec-draft-device": invalid device: RPC0'
        if rule == "worker-silent"
        else ""
    )
    cause = explain(returncode, [line, device])
    assert cause.rule == rule
    assert words in cause.message


def test_a_worker_out_of_memory_is_named() -> None:
    """As b10068 says it of a worker that may have no more."""
    cause = explain(-11, [
        "0.00.058.383 E ggml_gallocr_reserve_n_impl: failed to allocate RPC0[10.0.0.2:50052] "
        "buffer of size 10504224",
        "0.00.058.426 E graph_reserve: failed to allocate compute buffers",
        "0.00.060.320 E cmn  common_init_: failed to create context with model 'x.gguf'",
    ])  # fmt: skip
    assert (cause.rule, cause.out_of) == ("out-of-memory", "device memory")
    assert cause.message.endswith("10 MiB on RPC0[10.0.0.2:50052]")


BACKTRACE = """\
[New LWP 12199]
[Thread debugging using libthread_db enabled]
Using host libthread_db library "/lib/x86_64-linux-gnu/libthread_db.so.1".
30\t../sysdeps/unix/sysv/linux/wait4.c: No such file or directory.
30\tin ../sysdeps/unix/sysv/linux/wait4.c
#1  0x00007f30e094fc5b in ggml_print_backtrace () from /opt/engine/libggml-base.so.0
#2  0x00007f30e094fdf2 in ggml_abort () from /opt/engine/libggml-base.so.0
#13 0x000055b049ba8295 in ?? ()
[Inferior 1 (process 12197) detached]
/opt/engine/libggml-base.so.0(ggml_abort+0x152)[0x7f68e5d4fdf2]
/opt/engine/libllama.so.0(+0x1c79b)[0x7f68e5d4f79b]
/opt/engine/llama-server(+0x1295)[0x562aa21f6295]
"""


def test_an_unknown_end_shows_the_telling_lines_and_no_backtrace() -> None:
    said = ["0.01.1 I all is well", "0.02.5 E srv  load_model: the moon is wrong", "what(): tides"]
    cause = explain(3, said + BACKTRACE.splitlines())
    assert cause.message == (
        "it ended with code 3: srv  load_model: the moon is wrong | what(): tides"
    )
    aborted = "/a/b/llama-graph.cpp:3323: GGML_ASSERT(inp != nullptr) failed"
    cause = explain(-signal.SIGABRT, [aborted, *BACKTRACE.splitlines()])
    assert cause.message == "it aborted: GGML_ASSERT(inp != nullptr) failed"
    assert not any(is_telling(line) for line in BACKTRACE.splitlines())


@pytest.mark.parametrize(
    ("returncode", "rule", "said"),
    [
        (-signal.SIGILL, "engine-cpu", "built for another CPU (illegal instruction)"),
        (-signal.SIGKILL, "killed", "killed (SIGKILL), by somebody or by the system"),
        (-signal.SIGSEGV, "engine-crashed", "it crashed (SIGSEGV)"),
        (-signal.SIGBUS, "bad-file", "SIGBUS"),
        (-signal.SIGABRT, "start-failed", "it ended by SIGABRT"),
        (0, "start-failed", "it ended with code 0"),
        (None, "start-failed", "it does not answer"),
        (-40, "start-failed", "it ended by signal 40"),
        (137, "killed", "killed (SIGKILL)"),
    ],
)
def test_an_end_without_words(returncode: int | None, rule: str, said: str) -> None:
    """The log of b10068 is written by another thread, which a signal cuts off."""
    cause = explain(returncode, [NORMAL])
    assert (cause.rule, said in cause.message) == (rule, True), cause


def test_a_healthy_server_tells_nothing(cli: Cli) -> None:
    """Words such as `unknown` or `invalidated` stand in every log."""
    with cli.start("run", "crafted", "--json") as running:
        log = Path(running.wait_event("starting")["log"])
        running.wait_event("mtp")
        url = next(json.loads(line)["url"] for line in running.seen if '"ready"' in line)
        for text in ("hello", "hello again", "what?"):
            chat(url, text)
        assert running.interrupt() == 130
    lines = log.read_text(encoding="utf-8").splitlines()
    assert len(lines) > 100
    assert [line for line in lines if is_telling(line)] == []
