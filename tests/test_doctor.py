"""Doctor: eight broken environments, each mended by typing what it says, and what it shows."""

from __future__ import annotations

import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_card import fake_card
from fake_hub import TOKEN, FakeHub, Repo, fake_hub
from harness import WAIT_S, Cli, Result, fake_engine
from namespaces import world

from llmtp.engine.llama.find import WHEEL_PACKAGE, find_engine
from llmtp.profiles import load_profile, profile_names

SITE = Path(find_engine(None).path).parents[2]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A Hub that has the first repository of every profile, empty."""
    with fake_hub() as hub:
        for name in profile_names():
            for source in load_profile(name).sources[:1]:
                hub.repos[source.repository.repo_id] = Repo({})
        yield hub


@pytest.fixture
def well(cli: Cli, hub: FakeHub) -> Cli:
    """llmtp on a machine on which nothing is wrong."""
    cli.env["HF_ENDPOINT"] = hub.url
    return cli


def checks(result: Result) -> dict[str, dict[str, Any]]:
    """By id; each is whole."""
    found = {check["id"]: check for check in result.json["data"]["checks"]}
    assert len(found) == len(result.json["data"]["checks"])
    for check in found.values():
        assert set(check) == {"area", "id", "status", "summary", "fix"}
        assert check["status"] in ("pass", "warn", "fail")
        assert check["summary"]
    return found


def fails(result: Result) -> set[str]:
    return {name for name, check in checks(result).items() if check["status"] == "fail"}


def typed(cli: Cli, fix: str, **env: str) -> Result:
    """Type the fix in a shell, then doctor in the same one."""
    program = shlex.quote(str(cli.program))
    done = subprocess.run(
        ["bash", "-c", f"{{ {fix}\n}} >&2; {program} doctor --json"],
        env=cli.env | env, cwd=cli.folder, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def test_on_a_good_machine_nothing_fails_and_the_next_step_is_named(well: Cli) -> None:
    result = well("doctor", "--json")
    assert result.code == 0
    assert result.json["ok"]
    assert fails(result) == set()
    data = result.json["data"]
    names = {fit["name"] for fit in data["profiles"]}
    assert names == {*profile_names(), "crafted"}
    assert set(data) == {
        "status", "checks", "devices", "host", "engines", "profiles", "best",
    }  # fmt: skip
    for fit in data["profiles"]:
        assert {"name", "fits", "quant", "ctx_size", "n_max"} <= set(fit)
        assert fit["fits"] is (fit["ctx_size"] is not None)
    engine = data["engines"][0]
    assert set(engine) == {
        "path", "source", "mtp", "reason", "spec_types", "can", "backends", "devices",
    }  # fmt: skip
    assert engine["mtp"]
    assert "draft-mtp" in engine["spec_types"]
    assert "Vulkan" in engine["backends"]
    assert data["best"] in names
    shown = well("doctor")
    assert shown.code == 0
    assert f"run it: llmtp run {data['best']}" in shown.stdout.splitlines()[-1]


# The eight broken environments.


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of the engine, made of what was installed from it."""
    folder = tmp_path_factory.mktemp("wheels")
    (info,) = SITE.glob(f"{WHEEL_PACKAGE}-*.dist-info")
    name = f"{info.name.removesuffix('.dist-info')}-py3-none-manylinux_2_35_x86_64.whl"
    left_out = {"INSTALLER", "REQUESTED", "direct_url.json"}
    record = (info / "RECORD").read_text(encoding="utf-8").splitlines()
    rows = [row for row in record if row.split(",")[0].startswith(WHEEL_PACKAGE)]
    rows = [
        row
        for row in rows
        if ".pyc," not in row and not row.split(",")[0].endswith(tuple(left_out))
    ]
    with zipfile.ZipFile(folder / name, "w") as archive:
        for row in rows:
            file = row.split(",")[0]
            if not file.endswith("/RECORD"):
                archive.write(SITE / file, file)
        archive.writestr(f"{info.name}/RECORD", "\n".join(rows) + "\n")
    return folder


@pytest.fixture
def bare(well: Cli, tmp_path: Path, wheel: Path) -> Cli:
    """llmtp in an environment of its own that has everything but an engine, and pip."""
    place = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    site = next(place.glob("lib/python*/site-packages"))
    for entry in SITE.iterdir():
        if not entry.name.startswith(WHEEL_PACKAGE):
            (site / entry.name).symlink_to(entry)
    program = place / "bin" / "llmtp"
    program.write_text(
        f"#!{place}/bin/python\nimport sys\nfrom llmtp.__main__ import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    well.program = program
    well.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel), "PIP_NO_CACHE_DIR": "1"}
    well.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    well.env.pop("LLMTP_ENGINE", None)
    well.env["PATH"] = "/usr/bin:/bin"
    return well


def test_no_engine(bare: Cli) -> None:
    broken = bare("doctor", "--json")
    assert broken.code == 9
    assert fails(broken) == {"engine"}
    assert [finding["rule"] for finding in broken.json["findings"]] == ["engine"]
    fix = checks(broken)["engine"]["fix"]
    assert fix.startswith(
        f"{bare.program.parent}/python -m pip install {WHEEL_PACKAGE.replace('_', '-')}=="
    )
    mended = typed(bare, fix)
    assert (mended.code, fails(mended)) == (0, set())
    answer = bare("run", "crafted", "--ask", "hello")
    assert answer.code == 0, answer.stderr


def test_an_old_build(bare: Cli, tmp_path: Path) -> None:
    old = fake_engine(tmp_path)
    bare.env |= {"FAKE_ENGINE": "no-gemma4", "PATH": f"{old.parent}:{bare.env['PATH']}"}
    broken = bare("doctor", "--json")
    assert broken.code == 9
    assert fails(broken) == {"engine", "engine-1"}
    assert "b9549" in checks(broken)["engine"]["summary"]
    mended = typed(bare, checks(broken)["engine"]["fix"])
    assert (mended.code, fails(mended)) == (0, set())
    assert checks(mended)["engine-1"]["status"] == "warn"


def test_a_missing_shared_library(well: Cli, tmp_path: Path) -> None:
    """The loader does not find libgomp; the package manager, a stand-in, brings it back."""
    maps = subprocess.run(["ldd", find_engine(None).path], env=find_engine(None).child_env(),
                          capture_output=True, text=True, check=True)  # fmt: skip
    library = Path(next(row.split()[2] for row in maps.stdout.splitlines() if "libgomp" in row))
    folder = library.resolve().parent
    kept = tmp_path / library.name
    shutil.copy(library, kept)
    tools = tmp_path / "tools"
    tools.mkdir()
    for place in ("upper", "work"):
        (tmp_path / place).mkdir()
    manager = tools / "apt-get"
    manager.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/typed\n'
        f'case "$*" in *libgomp1) cp {kept} {library};; esac\n'
    )
    manager.chmod(0o755)
    path = f"{tools}:{well.program.parent}:{well.env['PATH']}"
    mounts = (
        f"mount -t overlay overlay -o lowerdir={folder},upperdir={tmp_path}/upper,"
        f"workdir={tmp_path}/work {folder}; rm {library}*"
    )
    with world(well, mounts) as there:
        broken = there.shell("llmtp doctor --json", PATH=path)
        assert broken.code == 9, broken.stderr
        check = checks(broken)["engine"]
        assert "misses the shared library libgomp.so.1" in check["summary"]
        assert check["fix"].endswith("apt-get install -y libgomp1")
        mended = there.shell(f"{check['fix']} && llmtp doctor --json", PATH=path)
    assert (mended.code, fails(mended)) == (0, set())
    assert "install -y libgomp1" in (tmp_path / "typed").read_text()


def test_no_driver(well: Cli, tmp_path: Path) -> None:
    """A card on the bus that only the kernel's own driver knows; the fix would need a GPU."""
    card = tmp_path / "bus" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030000\n")
    (tmp_path / "nouveau").mkdir()
    (card / "driver").symlink_to(tmp_path / "nouveau")
    with world(well, f"mount --bind {tmp_path}/bus /sys/bus/pci/devices") as there:
        broken = there.shell("llmtp doctor --json")
    assert broken.code == 0, broken.stderr  # it can run on the CPU
    assert fails(broken) == {"driver"}
    check = checks(broken)["driver"]
    assert "no driver of NVIDIA that answers (the kernel gave it to nouveau)" in check["summary"]
    assert check["fix"]


def test_a_full_disk(well: Cli, tmp_path: Path) -> None:
    """What nothing uses fills it."""
    (tmp_path / "hub").mkdir()
    demo = Path(load_profile("demo").main or "")  # type: ignore[arg-type]  # it is a path
    size = demo.stat().st_size
    place = tmp_path / "hub"
    folder = f"{place}/models--a--gemma-4-GGUF/snapshots/{'c' * 40}"
    copies = 9
    room = 66 * (1 << 20) + (copies - 1) * size
    mounts = f"mount -t tmpfs -o size={room} none {place}; mkdir -p {folder}; " + "; ".join(
        f"cp {demo} {folder}/gemma-4-{n}.gguf" for n in range(copies)
    )
    well.env["HF_HUB_CACHE"] = str(place)
    with world(well, mounts) as there:
        broken = there.shell("llmtp doctor --json")
        assert broken.code == 0, broken.stderr
        assert fails(broken) == {"disk"}
        check = checks(broken)["disk"]
        assert "the disk is full" in check["summary"]
        assert check["fix"] == "llmtp rm --unused"
        removed = there.shell(f"script -qec '{check['fix']}' /dev/null", stdin="y\n")
        assert removed.code == 0, removed.stdout
        mended = there.shell("llmtp doctor --json")
    assert (mended.code, fails(mended)) == (0, set())


def test_no_network(well: Cli) -> None:
    """A proxy that is not there is in the way; without one the command says how to do without."""
    well.env["http_proxy"] = "http://127.0.0.1:9"
    broken = well("doctor", "--json")
    assert broken.code == 0
    assert fails(broken) == {"hub"}
    fix = checks(broken)["hub"]["fix"]
    assert fix == "unset http_proxy"
    mended = typed(well, fix)
    assert (mended.code, fails(mended)) == (0, set())
    del well.env["http_proxy"]
    hub_gone = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    broken = well("doctor", "--json", env=hub_gone)
    assert fails(broken) == {"hub"}
    assert broken.json["data"]["best"] in ("demo", "crafted")
    mended = typed(well, checks(broken)["hub"]["fix"], **hub_gone)
    assert fails(mended) == {"hub"}  # the test's HF_ENDPOINT is gone, and no Hub is beyond it
    mended = typed(well, checks(mended)["hub"]["fix"])
    assert (mended.code, fails(mended)) == (0, set())
    assert "only what is on this disk" in checks(mended)["hub"]["summary"]


def test_a_bad_token(well: Cli) -> None:
    well.env["HF_TOKEN"] = "hf_revoked"  # noqa: S105 - opens nothing
    broken = well("doctor", "--json")
    assert broken.code == 0
    assert fails(broken) == {"token"}
    assert "hf_revoked" not in broken.stdout
    assert checks(broken)["token"]["fix"] == "unset HF_TOKEN"
    mended = typed(well, checks(broken)["token"]["fix"])
    assert (mended.code, fails(mended)) == (0, set())
    good = well("doctor", "--json", env={"HF_TOKEN": TOKEN})
    assert "of-the-test" in checks(good)["token"]["summary"]


def test_another_program_on_the_gpu(well: Cli, tmp_path: Path) -> None:
    """It is ended by what doctor says; a desktop is not."""
    other = subprocess.Popen(["sleep", "600"])
    try:
        env = fake_card(tmp_path) | {"HOLDER": f"{other.pid}:9000", "OTHERS": "Xorg:200"}
        broken = well("doctor", "--json", env=env)
        check = checks(broken)["gpu-0"]
        assert check["status"] == "warn"
        assert "sleep holds 8.79 GiB" in check["summary"]
        assert check["fix"] == f"kill {other.pid}"
        subprocess.run(["bash", "-c", check["fix"]], check=True)
        other.wait(WAIT_S)
        mended = well("doctor", "--json", env=env)
        assert checks(mended)["gpu-0"]["status"] == "pass"
    finally:
        other.kill()
        other.wait()
    drawing = well("doctor", "--json", env=env | {"OTHERS": "blender:9000"})
    check = checks(drawing)["gpu-0"]
    assert (check["status"], check["fix"]) == ("warn", None)


# What else may happen.


def test_a_bad_config_and_a_bad_profile_are_checks_of_their_own(well: Cli) -> None:
    well.profiles.with_name("config.yaml").write_text("engine: [\n", encoding="utf-8")
    (well.profiles / "odd.yaml").write_text("main: 7\n", encoding="utf-8")
    result = well("doctor", "--json")
    assert result.code == 0, "the engines that nobody has to look up are there all the same"
    found = checks(result)
    assert found["config"]["status"] == "fail"
    assert found["config"]["fix"].endswith("config.yaml")
    assert found["profile"]["status"] == "warn"
    assert found["profile"]["fix"] == "llmtp profiles validate -- odd"


def test_a_damaged_file_and_a_download_that_did_not_end(well: Cli, tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "models--a--gemma-4-GGUF"
    snapshot = cache / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "gemma-4 it-Q8_0.gguf").write_bytes(b"GGUF\x03")
    (cache / "blobs").mkdir()
    (cache / "blobs" / f"{'a' * 64}.llmtp.incomplete").write_bytes(b"x" * 100)
    well.env["HF_HUB_CACHE"] = str(tmp_path / "hub")
    found = checks(well("doctor", "--json"))
    assert found["cache-broken"]["fix"] == f"llmtp rm --yes '{snapshot}/gemma-4 it-Q8_0.gguf'"
    assert found["cache-partial"]["fix"] == "llmtp rm --unused"
    path = f"{well.program.parent}:{well.env['PATH']}"
    mended = typed(well, found["cache-broken"]["fix"], PATH=path)
    assert "cache-broken" not in checks(mended)


def test_a_server_that_others_can_reach(well: Cli) -> None:
    started = well("run", "crafted", "--detach", "--host", "0.0.0.0", "--make-key", "--json")
    assert started.code == 0, started.stdout
    check = checks(well("doctor", "--json"))["listening"]
    assert check["status"] == "warn"
    assert "listens on 0.0.0.0, beyond this machine, with a key" in check["summary"]
    path = f"{well.program.parent}:{well.env['PATH']}"
    mended = typed(well, check["fix"], PATH=path)
    assert checks(mended)["listening"]["status"] == "pass"


@pytest.mark.soak
def test_an_interruption_leaves_nothing(well: Cli, dice: random.Random, soak: bool) -> None:
    """The fixture looks for what is left."""
    for _ in range(60 if soak else 6):
        with well.start("doctor") as running:
            with pytest.raises(subprocess.TimeoutExpired):
                running.process.wait(dice.uniform(0.2, 0.6))
            code = running.interrupt()
            # Before llmtp listens to signals Python's own ending is right: nothing has begun.
            early = code == -signal.SIGINT or "KeyboardInterrupt" in running.rest()
            assert code == 130 or early, running.seen


def test_an_engine_that_hangs_is_waited_for_and_named(well: Cli, tmp_path: Path) -> None:
    slow = tmp_path / "slow" / "llama-server"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    well.env["LLMTP_ENGINE"] = str(slow)
    result = well("doctor")
    assert result.code == 0, result.stdout
    assert f"waiting for {slow} to answer" in result.stderr
    assert f"{slow} (LLMTP_ENGINE) does not come to an end with --help" in " ".join(
        result.stdout.split()
    )


SECRET = "PW1SECRET"  # noqa: S105 - opens nothing
ODD = {
    "socks": {"ALL_PROXY": "socks5://127.0.0.1:9"},
    "no-address": {"HF_ENDPOINT": "http://[::1"},
    "long-address": {"HF_ENDPOINT": f"http://{'a' * 70_000}", "HF_HOME": "~nouser/x"},
    "escapes": {"HF_ENDPOINT": "http://\x1b[31mred\n", "HF_TOKEN": "x\ny", "PATH": ""},
    "bytes": {"HF_TOKEN": "hf_\udcff", "LANG": "C", "LC_ALL": "C"},
    "password": {"HTTPS_PROXY": f"ht tp://bob:{SECRET}@@@:x", "HF_ENDPOINT": "https://h.example"},
    "address-with-password": {"HF_ENDPOINT": f"http://bob:{SECRET}@127.0.0.1:9"},
    "names": {"LLAMA_ARG_$(touch pwned)": "1", "LLAMA_ARG_A": "1", "CUDA_VISIBLE_DEVICES": "",
              "GGML_VK_VISIBLE_DEVICES": "", "VK_DRIVER_FILES": "/x", "VK_ICD_FILENAMES": "/y",
              "HF_HOME": f"/nowhere/{'a' * 300}/b/c", "XDG_STATE_HOME": "/etc/passwd"},
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_shell_breaks_nothing_and_no_fix_is_another_command(well: Cli, odd: str) -> None:
    result = well("doctor", "--json", env=ODD[odd])
    found = checks(result)
    assert result.code == 0, result.stdout
    assert SECRET not in result.stdout + result.stderr
    for check in found.values():
        assert check["summary"].isprintable()
        if check["fix"]:
            assert check["fix"].isprintable()
            subprocess.run(["bash", "-n", "-c", check["fix"]], check=True)
            assert "pwned" not in check["fix"]


def test_a_home_that_is_a_file(well: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = checks(well("doctor", "--json", env={"HOME": str(tmp_path / "file")}))
    assert found["folder"]["status"] == "fail"
    assert found["folder"]["fix"].startswith("export XDG_")


@pytest.mark.parametrize("answer", ["[" * 900_000, "null", "<html>"])
def test_a_hub_that_answers_nonsense(well: Cli, hub: FakeHub, answer: str) -> None:
    hub.listing = answer
    found = checks(well("doctor", "--json"))
    assert found["hub"]["status"] == ("pass" if answer == "null" else "fail")


def test_a_silent_hub_is_not_waited_for(well: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        well.env["HF_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = checks(well("doctor", "--json"))
    assert "nothing came from the Hub" in found["hub"]["summary"]


def test_a_gated_model_is_not_the_next_step(well: Cli, hub: FakeHub) -> None:
    for repo in hub.repos.values():
        repo.access = "gated"
    result = well("doctor", "--json")
    found = checks(result)
    assert found["gated"]["status"] == found["gated-2"]["status"] == "warn"
    assert f"{hub.url}/" in found["gated"]["fix"]
    assert result.json["data"]["best"] in ("demo", "crafted")
    allowed = checks(well("doctor", "--json", env={"HF_TOKEN": TOKEN}))
    assert "gated" not in allowed


def test_the_variable_that_names_a_bad_engine_goes(well: Cli) -> None:
    well.env["LLMTP_ENGINE"] = "/nowhere"
    broken = checks(well("doctor", "--json"))["engine-1"]
    assert (broken["status"], broken["fix"]) == ("warn", "unset LLMTP_ENGINE")
    assert "engine-1" not in checks(typed(well, broken["fix"]))
    well.env.pop("LLMTP_ENGINE")
    well.profiles.with_name("config.yaml").write_text("engine: /nope\n", encoding="utf-8")
    fix = checks(well("doctor", "--json"))["engine-1"]["fix"]
    assert fix.startswith("${EDITOR:-vi} ")
    assert fix.endswith("config.yaml")


def test_it_reads_well_in_a_narrow_terminal(well: Cli) -> None:
    """Checks are wrapped; commands never are, or they could not be copied."""
    well.env |= {"COLUMNS": "30", "LLAMA_ARG_CTX_SIZE": "1", "LLAMA_ARG_N_PREDICT": "2"}
    lines = well("doctor").stdout.splitlines()
    assert any(line.endswith("unset LLAMA_ARG_CTX_SIZE LLAMA_ARG_N_PREDICT") for line in lines)
    assert not any("\x1b" in line or line.endswith(" ") for line in lines)
    checked = [line for line in lines if line.startswith(("  pass", "  warn", "  fail"))]
    assert len(checked) > 8
