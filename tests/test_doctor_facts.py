"""What doctor makes of facts: machines, package managers and shells that are not here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmtp.doctor.cards import Seen, Vulkan, card_checks
from llmtp.doctor.check import Check, worst
from llmtp.doctor.computer import NEEDED, Computer, Power, computer_checks
from llmtp.doctor.engines import Looked, backends_of, engine_checks
from llmtp.doctor.exposure import Exposed, security_checks
from llmtp.doctor.fitting import Fit, best
from llmtp.doctor.hub import hub_checks
from llmtp.doctor.shell import shell_checks
from llmtp.doctor.storage import Storage, Unwritable, storage_checks
from llmtp.engine.llama.build import Build, parse_help
from llmtp.errors import DownloadError
from llmtp.hub.answers import Reach
from llmtp.machine.devices import Device, Host, User
from llmtp.machine.pci import PciCard, graphics_cards
from llmtp.packages import System
from llmtp.units import GiB, MiB

PIP = "/v/bin/python -m pip install"
WHEEL = "engine-wheel==1"
DEBIAN = System("debian", ("apt",), glibc=(2, 36), pip=PIP, wheel=WHEEL)
UBUNTU = replace(DEBIAN, name="ubuntu")
FEDORA = System("fedora", ("dnf",), glibc=(2, 40), pip=PIP, wheel=WHEEL)
ARCH = System("arch", ("pacman",), glibc=(2, 41), pip=PIP, wheel=WHEEL)
MAC = System("darwin", ("brew",), machine="arm64")
WINDOWS = System("win32", ("winget",), machine="AMD64")
CONDA = System("debian", ("conda", "apt"), glibc=(2, 31), pip=PIP, wheel=WHEEL)
OLD = System("debian", ("apt",), glibc=(2, 31), pip=PIP, wheel=WHEEL)
ARM = System("fedora", ("dnf",), machine="aarch64", glibc=(2, 40), pip=PIP, wheel=WHEEL)
NOBODY = System("linux", ())


@pytest.mark.parametrize(
    ("system", "command"),
    [
        (DEBIAN, f"{PIP} {WHEEL}"),
        (ARCH, f"{PIP} {WHEEL}"),
        (MAC, "brew install llama.cpp"),
        (WINDOWS, "winget install llama.cpp"),
        (CONDA, "conda install -y -c conda-forge llama.cpp"),
    ],
)
def test_an_engine_is_installed_as_each_system_does(system: System, command: str) -> None:
    assert system.install_engine() == command


@pytest.mark.parametrize(
    ("system", "first"),
    [
        (OLD, "sudo apt-get install -y git cmake g++ && git clone "),
        (ARM, "sudo dnf install -y git cmake gcc-c++ && git clone "),
        (replace(DEBIAN, pip=None), "sudo apt-get install -y git cmake g++ && git clone "),
        (NOBODY, "git clone "),
    ],
)
def test_where_none_is_ready_it_is_built(system: System, first: str) -> None:
    command = system.install_engine()
    assert command.startswith(first)
    assert command.endswith('export LLMTP_ENGINE="$PWD/llama.cpp/build/bin/llama-server"')


@pytest.mark.parametrize(
    ("system", "command"),
    [
        (DEBIAN, "sudo apt-get install -y libgomp1 libx11-6"),
        (replace(DEBIAN, is_root=True), "apt-get install -y libgomp1 libx11-6"),
        (
            replace(DEBIAN, has_lists=False),
            "sudo apt-get update && sudo apt-get install -y libgomp1 libx11-6",
        ),
        (FEDORA, "sudo dnf install -y 'libgomp.so.1()(64bit)' 'libX11.so.6()(64bit)'"),
        (ARCH, "sudo pacman -S --noconfirm gcc-libs libx11"),
        (MAC, None),
        (NOBODY, None),
    ],
)
def test_libraries_have_the_names_of_each_system(system: System, command: str | None) -> None:
    assert system.install("libgomp.so.1", "libX11.so.6") == command


def test_a_package_is_named_once_and_an_unknown_library_not_at_all() -> None:
    assert ARCH.install("libGL.so.1", "libEGL.so.1") == "sudo pacman -S --noconfirm libglvnd"
    assert DEBIAN.install("libnobody.so.7") is None
    assert FEDORA.install("libnobody.so.7") is not None
    hostile = FEDORA.install("x'$(touch y)'.so.1")
    assert hostile is not None
    assert shlex.split(hostile)[-1] == "x'$(touch y)'.so.1()(64bit)"


@pytest.mark.parametrize(
    ("system", "words"),
    [
        (
            DEBIAN,
            "non-free-firmware/' /etc/apt/sources.list.d/debian.sources && sudo apt-get update",
        ),
        (DEBIAN, "sudo apt-get install -y nvidia-driver"),
        (UBUNTU, "sudo ubuntu-drivers install"),
        (replace(DEBIAN, name="linuxmint", like=("ubuntu", "debian")), "ubuntu-drivers install"),
        (replace(FEDORA, name="rocky", like=("rhel", "fedora")), "xdg-open https://"),
        (FEDORA, "akmod-nvidia"),
        (ARCH, "pacman -S --noconfirm nvidia-open"),
        (replace(UBUNTU, is_wsl=True), "explorer.exe"),
    ],
)
def test_the_driver_comes_from_each_system(system: System, words: str) -> None:
    assert words in system.install_nvidia_driver()


# GPUs.

CARD = Device(None, "NVIDIA Imaginary", None, 24 * GiB, 23 * GiB, "NVML", number=0)
VULKAN0 = replace(CARD, id="Vulkan0", backend="vulkan")
LLVMPIPE = Device("Vulkan0", "llvmpipe (LLVM 15)", "vulkan", 8 * GiB, 8 * GiB, "engine")
BUILD = parse_help("--model\n--cors-origins\n")
ENGINE = Looked(
    "/e/llama-server (PATH)", "PATH", Path("/e/llama-server"), BUILD, None, None,
    ("Vulkan", "CPU"), (VULKAN0,),
)  # fmt: skip
ON_BUS = (PciCard("0000:01:00.0", "NVIDIA", "nvidia"),)


def seen(*devices: Device, **more: Any) -> Seen:
    facts: dict[str, Any] = {
        "bus": (), "driver": "580.1", "used": ENGINE, "vulkan": Vulkan(), "environ": {},
        "servers": {},
    }  # fmt: skip
    return Seen(devices, **(facts | more))


def only(checks: list[Check]) -> Check:
    (check,) = checks
    return check


def test_a_card_in_order_says_what_it_has() -> None:
    check = only(card_checks(seen(VULKAN0), DEBIAN))
    assert (check.id, check.status, check.fix) == ("gpu-0", "pass", None)
    assert check.summary == "NVIDIA Imaginary: 24.00 GiB, 23.00 GiB free, driver 580.1, Vulkan0"


@pytest.mark.parametrize(
    ("more", "why", "fix"),
    [
        (
            {"environ": {"GGML_VK_VISIBLE_DEVICES": "-1"}},
            "GGML_VK_VISIBLE_DEVICES hides it",
            "unset GGML_VK_VISIBLE_DEVICES",
        ),
        (  # of no interest to Vulkan
            {"environ": {"CUDA_VISIBLE_DEVICES": "-1"}, "vulkan": Vulkan(("libGL.so.1",))},
            "misses libGL.so.1",
            "sudo apt-get install -y libgl1",
        ),
        (
            {"used": replace(ENGINE, backends=("CPU",), devices=())},
            "built for CPU alone",
            f"{PIP} {WHEEL}",
        ),
        (
            {"vulkan": Vulkan(("libX11.so.6", "libEGL.so.1"))},
            "misses libX11.so.6, libEGL.so.1",
            "sudo apt-get install -y libx11-6 libegl1",
        ),
        (
            {"vulkan": Vulkan((), False, "/opt/a b/nvidia_icd.json")},
            "Vulkan does not find its driver",
            "export VK_DRIVER_FILES='/opt/a b/nvidia_icd.json'",
        ),
        (
            {"vulkan": Vulkan((), False), "in_container": True},
            "the container has no Vulkan driver",
            "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=all IMAGE",
        ),
        (
            {"vulkan": Vulkan((), False)},
            "came without Vulkan",
            DEBIAN.install_nvidia_driver(),
        ),
        ({}, "does not say why", "/e/llama-server --list-devices"),
    ],
)
def test_a_card_that_the_engine_does_not_see_has_a_reason(
    more: Mapping[str, Any], why: str, fix: str
) -> None:
    check = only(card_checks(seen(CARD, bus=ON_BUS, **more), DEBIAN))
    assert check.status == "fail"
    assert "the engine does not see it" in check.summary
    assert why in check.summary
    assert check.fix == fix


def test_without_an_engine_a_card_is_not_to_blame() -> None:
    assert only(card_checks(seen(CARD, used=None), DEBIAN)).status == "pass"


def test_a_cpu_that_calls_itself_a_gpu_is_told() -> None:
    check = only(card_checks(seen(LLVMPIPE, driver=None), DEBIAN))
    assert (check.status, check.fix) == ("warn", None)
    assert "a CPU that calls itself a GPU" in check.summary
    amd = (PciCard("0000:03:00.0", "AMD", "amdgpu"),)
    check = only(card_checks(seen(LLVMPIPE, driver=None, bus=amd), DEBIAN))
    assert check.fix == "sudo apt-get install -y mesa-vulkan-drivers"


def test_a_card_of_another_maker_that_nobody_uses_is_told() -> None:
    amd = (PciCard("0000:03:00.0", "AMD", "amdgpu"),)
    check = only(card_checks(seen(driver=None, bus=amd), FEDORA))
    assert (check.id, check.status) == ("gpu-unused", "warn")
    assert check.fix == "sudo dnf install -y mesa-vulkan-drivers"
    group = only(card_checks(seen(driver=None, bus=amd, renders=False), FEDORA))
    assert group.fix == 'sudo usermod -aG render "$(id -un)" && newgrp render'
    for_cpu = replace(ENGINE, backends=("CPU",), devices=())
    built = only(card_checks(seen(driver=None, bus=amd, used=for_cpu), FEDORA))
    assert built.fix == f"{PIP} {WHEEL}"
    hidden = {"GGML_VK_VISIBLE_DEVICES": ""}
    hides = only(card_checks(seen(driver=None, bus=amd, environ=hidden), FEDORA))
    assert hides.fix == "unset GGML_VK_VISIBLE_DEVICES"
    known = replace(VULKAN0, name="AMD Radeon (RADV)", source="engine")
    assert only(card_checks(seen(known, driver=None, bus=amd), FEDORA)).status == "pass"


def test_a_driver_is_missed_only_where_nothing_uses_the_card() -> None:
    nouveau = (PciCard("0000:01:00.0", "NVIDIA", "nouveau"),)
    check = only(card_checks(seen(driver=None, bus=nouveau), DEBIAN))
    assert (check.id, check.status) == ("driver", "fail")
    arc = replace(VULKAN0, name="Intel(R) Iris(R) Xe Graphics", source="engine")
    both = card_checks(seen(arc, driver=None, bus=nouveau), DEBIAN)
    assert [(c.id, c.status) for c in both] == [("gpu-0", "pass"), ("driver", "fail")]
    given = (PciCard("0000:01:00.0", "NVIDIA", "vfio-pci"),)
    assert only(card_checks(seen(driver=None, bus=given), DEBIAN)).status == "pass"
    nvk = replace(VULKAN0, name="NVIDIA (NVK)", source="engine")
    assert only(card_checks(seen(nvk, driver=None, bus=nouveau), DEBIAN)).status == "pass"


def test_who_holds_a_card_is_ended_as_fits() -> None:
    train = User("python3", 9 * GiB, 77, computes=True)
    server = User("llama-server", 5 * GiB, 88, computes=True)
    busy = replace(VULKAN0, free_bytes=9 * GiB, users=(train, server))
    check = only(card_checks(seen(busy, servers={88: "gemma-4-12b-1"}, ours={77}), DEBIAN))
    assert check.status == "warn"
    assert "python3 holds 9.00 GiB, llama-server holds 5.00 GiB" in check.summary
    assert check.fix == "kill 77 && llmtp stop gemma-4-12b-1"
    strange = only(card_checks(seen(busy), DEBIAN))
    assert strange.fix is None, "numbers of a container's driver mean other processes"
    hidden = replace(busy, users=())
    check = only(card_checks(seen(hidden), DEBIAN))
    assert "15.00 GiB are held by other programs" in check.summary
    assert check.fix == "nvidia-smi"


def test_twins_that_the_engine_does_not_see_are_counted() -> None:
    names = ("NVIDIA Imaginary",) * 8
    one, more = card_checks(
        seen(VULKAN0, nvidia=names, environ={"GGML_VK_VISIBLE_DEVICES": "0"}), DEBIAN
    )
    assert (one.status, more.status) == ("pass", "warn")
    assert more.summary == "7 more NVIDIA Imaginary, not seen by the engine"
    assert more.fix == "unset GGML_VK_VISIBLE_DEVICES"


def test_cards_on_the_bus_are_read_whatever_is_missing(tmp_path: Path) -> None:
    for name, vendor, kind in (
        ("0000:00:02.0", "0x8086", "0x030000"),
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:02:00.0", "0x10de", "0x040300"),
        ("0000:03:00.0", "0x1af4", "0x030000"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    (tmp_path / "0000:04:00.0").mkdir()
    cards = graphics_cards(tmp_path)
    assert [(card.maker, card.driver) for card in cards] == [("Intel", None), ("NVIDIA", None)]


# Engines.


def test_the_first_engine_that_can_is_the_one() -> None:
    old = replace(ENGINE, build=None, reason="is too old", mend="get it", shown="/o (PATH)")
    checks = engine_checks([old, ENGINE, replace(ENGINE, source="wheel")], DEBIAN)
    assert [(c.id, c.status) for c in checks] == [
        ("engine", "pass"), ("engine-1", "warn"), ("engine-3", "pass"),
    ]  # fmt: skip
    assert checks[1].fix == "get it"
    checks = engine_checks([old], DEBIAN)
    assert worst(checks) == "fail"
    assert checks[0].fix == "get it"
    assert engine_checks([], DEBIAN)[0].fix == f"{PIP} {WHEEL}"


def test_back_ends_are_known_by_libraries_and_devices(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "llama-server"
    program.parent.mkdir()
    program.touch()
    assert backends_of(program, ()) == ()
    (tmp_path / "lib").mkdir()
    for name in ("libggml-base.so.0", "libggml-cpu-haswell.so", "libggml-hip.so.0.9"):
        (tmp_path / "lib" / name).touch()
    assert backends_of(program, ()) == ("ROCm", "CPU")
    assert backends_of(program, (VULKAN0,)) == ("Vulkan", "ROCm", "CPU")


# The computer.

GOOD = Computer(
    Host("A CPU", 32 * GiB, 30 * GiB, "operating system"), 8, frozenset(NEEDED), (0, 8 * GiB),
    Power(),
)  # fmt: skip


def test_a_good_computer_has_two_lines() -> None:
    checks = list(computer_checks(GOOD, DEBIAN))
    assert [(c.id, c.status) for c in checks] == [("cpu", "pass"), ("ram", "pass")]


@pytest.mark.parametrize(
    ("bad", "system", "name", "words"),
    [
        ({"flags": frozenset({"avx"})}, DEBIAN, "cpu", "without AVX2, FMA, F16C, BMI2"),
        ({"host": replace(GOOD.host, available_bytes=GiB)}, DEBIAN, "ram", "too little"),
        ({"swap": (9 * GiB, 16 * GiB)}, DEBIAN, "swap", "9.00 GiB of memory are swapped out"),
        ({"power": Power(profile="low-power")}, DEBIAN, "power-profile", "low-power"),
        (
            {"power": Power(governor="powersave", driver="acpi-cpufreq")},
            DEBIAN,
            "governor",
            "lowest clock",
        ),
        (
            {"host": replace(GOOD.host, total_bytes=7 * GiB)},
            replace(UBUNTU, is_wsl=True),
            "wsl",
            ".wslconfig",
        ),
    ],
)
def test_what_slows_a_computer_down_is_told(
    bad: dict[str, Any], system: System, name: str, words: str
) -> None:
    found = {check.id: check for check in computer_checks(replace(GOOD, **bad), system)}
    assert found[name].status == "warn"
    assert words in found[name].summary
    assert found[name].fix


def test_memory_comes_back_only_where_there_is_room_for_it() -> None:
    def fix(available: int, **more: Any) -> str | None:
        host = replace(GOOD.host, available_bytes=available)
        found = computer_checks(replace(GOOD, host=host, swap=(9 * GiB, 16 * GiB), **more), DEBIAN)
        return {check.id: check.fix for check in found}.get("swap")

    assert "swapoff" in (fix(20 * GiB) or "")
    assert "swapoff" not in (fix(8 * GiB) or "swapoff")
    assert fix(20 * GiB, in_container=True) is None


def test_what_only_looks_slow_is_not() -> None:
    dynamic = replace(GOOD, power=Power(governor="powersave", driver="intel_pstate"))
    assert worst(computer_checks(dynamic, DEBIAN)) == "pass"
    battery = replace(GOOD, power=Power(on_battery=True))
    assert worst(computer_checks(battery, DEBIAN)) == "warn"


# The shell.


def shell(environ: dict[str, str], disturbing: list[str] | None = None) -> dict[str, Check]:
    return {check.id: check for check in shell_checks(environ, disturbing or [])}


def test_a_quiet_shell_has_one_line() -> None:
    assert [(c.id, c.status) for c in shell({}).values()] == [("variables", "pass")]


@pytest.mark.parametrize(
    ("environ", "name", "fix"),
    [
        ({"http_proxy": "http://p"}, "proxy", 'export no_proxy="${no_proxy:+$no_proxy,}127.0.0.1'),
        ({"http_proxy": "http://p", "NO_PROXY": "*.corp"}, "proxy", "export no_proxy="),
        ({"HF_ENDPOINT": "https://huggingface.co.evil.example"}, "endpoint", "unset HF_ENDPOINT"),
        ({"HF_ENDPOINT": "http://[::1"}, "endpoint", "unset HF_ENDPOINT"),
        ({"HF_HOME": "~nouser/x/y"}, "cache-variable", "unset HF_HOME"),
        ({"HF_HOME": f"/nowhere/{'a' * 300}/b"}, "cache-variable", "unset HF_HOME"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "hidden-gpus", "unset CUDA_VISIBLE_DEVICES"),
        ({"VK_DRIVER_FILES": "/nowhere.json"}, "vulkan-driver", "unset VK_DRIVER_FILES"),
        ({"HF_ENDPOINT": "https://mirror.example"}, "endpoint", "unset HF_ENDPOINT"),
        ({"HF_HOME": "/nowhere/at/all"}, "cache-variable", "unset HF_HOME"),
    ],
)
def test_what_disturbs_is_unset(environ: dict[str, str], name: str, fix: str) -> None:
    check = shell(environ)[name]
    assert check.status == "warn"
    assert check.fix is not None
    assert check.fix.startswith(fix)


def test_no_value_of_a_variable_is_shown() -> None:
    """A proxy has a password, and a flag may be a key."""
    environ = {"HTTP_PROXY": "http://me:secret@p", "HF_ENDPOINT": "https://u:secret@h"}
    shown = shell(environ, ["LLAMA_API_KEY"])
    assert set(shown) == {"proxy", "endpoint", "llama-variables"}
    assert not any("secret" in f"{c.summary}{c.fix}" for c in shown.values())


def test_no_name_of_a_variable_is_a_command() -> None:
    names = ["LLAMA_ARG_$(touch x)", "LLAMA_ARG_A\nB", "LLAMA_ARG_CTX_SIZE"]
    assert shell({}, names)["llama-variables"].fix == "unset LLAMA_ARG_CTX_SIZE"
    assert set(shell({}, names[:2])) == {"variables"}


def test_a_proxy_with_exceptions_does_no_harm() -> None:
    assert set(shell({"http_proxy": "http://p", "no_proxy": "localhost,a"})) == {"variables"}


# Disk, Hub, security.


def test_the_room_that_is_needed_is_that_of_the_smallest_model() -> None:
    storage = Storage(Path("/c"), 3 * GiB, elsewhere=Path("/big disk"))
    low = next(storage_checks(storage, 4 * GiB, DEBIAN))
    assert (low.status, low.fix) == ("warn", "export HF_HOME='/big disk/huggingface'")
    assert "the smallest model that fits is 4.00 GiB" in low.summary
    assert next(storage_checks(storage, 2 * GiB, DEBIAN)).status == "pass"
    assert next(storage_checks(storage, None, DEBIAN)).status == "pass"
    assert next(storage_checks(replace(storage, free_bytes=MiB), None, DEBIAN)).status == "fail"


def test_an_unreadable_cache_and_folder_fail() -> None:
    error = DownloadError("/c is a file", fix="mend that")
    ours = Unwritable(Path("/home/me/.cache"), "permission denied", "HF_HOME", is_ours=True)
    root = Unwritable(Path("/"), "permission denied", "XDG_STATE_HOME", is_ours=False)
    storage = Storage(Path("/c"), GiB, error=error, unwritable=(ours, root))
    checks = list(storage_checks(storage, None, DEBIAN))
    assert [(c.id, c.status) for c in checks[1:]] == [
        ("cache", "fail"), ("folder", "fail"), ("folder", "fail"),
    ]  # fmt: skip
    assert checks[2].fix == 'sudo chown -R "$(id -u)" /home/me/.cache'
    assert checks[3].fix == 'export XDG_STATE_HOME="$(mktemp -d)"'


def test_a_gated_model_says_where_its_licence_is() -> None:
    reach = Reach("http://hub.example:8", gated={"a/b": None})
    found = {check.id: check for check in hub_checks(reach, {})}
    assert found["hub"].status == found["token"].status == "pass"
    assert found["gated"].status == "warn"
    assert "http://hub.example:8/a/b" in (found["gated"].fix or "")


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_what_keeps_the_hub_from_being_asked_is_named(name: str) -> None:
    check = only(list(hub_checks(Reach(None), {name: "1"})))
    assert (check.status, check.fix) == ("warn", f"unset {name}")


def test_a_token_is_blamed_only_where_the_hub_refuses_it() -> None:
    def status(rule: str) -> str:
        error = DownloadError("no", rule=rule)
        reach = Reach("https://hub", has_token=True, token_error=error)
        return {check.id: check.status for check in hub_checks(reach, {})}["token"]

    assert (status("token"), status("rate-limit"), status("stalled")) == ("fail", "warn", "warn")


def test_only_what_others_can_reach_is_warned_of() -> None:
    good = list(security_checks([Exposed("a", "127.0.0.1", False)], ENGINE, DEBIAN))
    assert worst(good) == "pass"
    wide = [Exposed("a", "0.0.0.0", True), Exposed("b", "::", False), Exposed("c", "::1", False)]
    checks = list(security_checks(wide, ENGINE, DEBIAN))
    assert [(c.status, c.fix) for c in checks] == [
        ("warn", "llmtp stop a"), ("fail", "llmtp stop b"),
    ]  # fmt: skip
    open_build = replace(ENGINE, build=Build((), ()))
    cors = list(security_checks([], open_build, DEBIAN))[-1]
    assert (cors.id, cors.status) == ("cors", "warn")


# What to run first.


def test_the_next_step_is_the_best_that_can_be_had() -> None:
    demo = Fit("demo", True, device="CPU", on_disk=True)
    small = Fit("small", True, device="CPU", download_bytes=4 * GiB)
    middle = Fit("middle", True, device="CPU", download_bytes=9 * GiB)
    on_gpu = Fit("gpu", True, device="Vulkan0", download_bytes=9 * GiB)
    unfit = Fit("large", False, reason="5 GiB too large")

    def name(*fits: Fit, room: int = 100 * GiB) -> str | None:
        found = best(fits, room)
        return found.name if found else None

    assert name(demo, small, middle, unfit) == "small"
    assert name(demo, small, on_gpu) == "gpu"
    assert name(demo, small, replace(middle, on_disk=True, download_bytes=0)) == "middle"
    assert name(demo, small, on_gpu, room=0) == "demo"
    assert name(unfit) is None
    assert best([demo, small], 100 * GiB, {"small"}) == demo
