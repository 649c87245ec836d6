"""The lines of the house: who may import whom, and what a start may load."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from harness import Cli

from llmtp.cli.options import KvType
from llmtp.engine.llama.causes import CAUSES, SIGNALS
from llmtp.errors import ExitCode
from llmtp.plan.kv import KV_TYPES

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "llmtp"
#: Data flows one way: a part imports only parts that stand before it.
ORDER = ["text", "errors", "signals", "aside", "told", "units", "paths", "packages",
         "fingerprint", "ports", "yamlfile", "config", "hubname", "published", "profiles", "gguf",
         "safetensors", "roles", "pairing",
         "hub", "machine", "plan", "engine", "server", "metrics", "verdict", "tried",
         "selection", "selection_safetensors", "engines", "chain", "users", "export", "spill",
         "story", "workers", "start", "supervisor", "registered", "joining", "lending", "detach",
         "watch", "report",
         "bench", "tune", "doctor", "cli"]  # fmt: skip
HEAVY = {"rich", "httpx", "psutil", "pynvml", "yaml", "asyncio", "importlib.metadata", "pydantic",
         "huggingface_hub",
         "llmtp.chain", "llmtp.verdict", "llmtp.plan", "llmtp.engine", "llmtp.gguf"}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Modules of llmtp, typer and rich that a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module in ("llmtp", "llmtp.cli", "llmtp.plan", "llmtp.server"):
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            else:
                found.add(node.module)
    return found


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [p for p in PACKAGE.rglob("*.py") if part(p) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path: Path) -> None:
    mine = ORDER.index(part(path))
    for module in imports(path):
        name, _, rest = module.partition(".")
        if name == "llmtp" and rest not in ("", "__version__"):
            assert ORDER.index(rest.split(".")[0]) <= mine, module
        elif name in ("typer", "rich"):
            assert part(path) == "cli", module


def test_the_options_offer_every_kv_type() -> None:
    assert [kind.value for kind in KvType] == list(KV_TYPES)


def test_every_part_has_its_place() -> None:
    assert {part(p) for p in FILES} == set(ORDER)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, json; "
        "from llmtp.cli.app import run; run(['--help']); "
        "print(json.dumps(sorted(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    loaded = set(json.loads(printed.splitlines()[-1]))
    assert "typer" in loaded
    assert not loaded & HEAVY


def test_the_readme_lists_every_exit_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert listed == {int(code) for code in ExitCode}


def test_the_readme_shows_every_command(cli: Cli) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listing = cli("--help").stdout.split("Commands:")[1]
    for name in re.findall(r"^  ([\w-]+)", listing, re.MULTILINE):
        assert f"`{name} " in text, name


def test_the_reference_of_commands_is_what_help_says() -> None:
    """Mend it with scripts/write_commands.py."""
    from write_commands import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_link_within_the_readme_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    plain = re.sub(r"^(`{3,}).*?^\1`*$", "", text, flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    for link in re.findall(r"\]\(([^)]+)\)", plain):
        if link.startswith("#"):
            assert link[1:] in anchors, link
        elif "://" not in link:
            assert (ROOT / link).exists(), link


def test_the_readme_lists_every_pair_rule_with_its_test() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    row = r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \| (?:error|warning|info) \|.*\| `(.+)` \|$"
    rows = re.findall(row, text, re.MULTILINE)
    listed = {rule for rules, _ in rows for rule in re.findall(r"[a-z-]+", rules)}
    sources = [PACKAGE / name for name in ("pairing.py", "roles.py", "gguf/model.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    known = set(re.findall(r"\"((?:[a-z]+-)+[a-z]+)\"", code)) - {"fork-assistant"}
    assert listed == known
    files = {"r": "tests/test_rules.py", "o": "tests/test_roles.py"}
    for _, where in rows:
        file, test = where.split()
        source = (ROOT / files.get(file, file)).read_text(encoding="utf-8")
        assert f"def {test}(" in source, where


def test_the_readme_names_a_test_for_each_fault_of_workers() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("### Two machines, one model\n")[1].split("\n### ")[0]
    named = re.findall(r"\| `(test_\w+)` \|$", section, re.MULTILINE)
    assert len(named) == len(re.findall(r"^\| (?!---|fault)", section, re.MULTILINE)) > 10
    files = ("test_rpc.py", "test_rpc_machines.py")
    code = "".join((ROOT / "tests" / file).read_text(encoding="utf-8") for file in files)
    assert [name for name in named if f"def {name}(" not in code] == []


def test_the_readme_names_a_test_for_each_fault_and_cause() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("### Staying up")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (?!---|fault|cause)(.+) \|$", section, re.MULTILINE)
    names = ("supervisor", "failure", "logs", "ports")
    files = {name[0]: name for name in names} | {"e": "server", "t": "stopping"}
    for row in rows:
        file, test = row.rpartition(" | ")[2].strip("`").split()
        path = f"tests/test_{files[file]}.py" if file in files else file
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), row
    listed = set(re.findall(r"`([a-z]+(?:-[a-z]+)*)`(?=,| \|)", section))
    rules = {cause.rule for cause in (*SIGNALS.values(), *(cause for _, cause in CAUSES))}
    assert rules <= listed


def test_a_wheel_carries_its_profiles_and_the_style_of_its_page(cli: Cli, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("llmtp-*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    assert (installed / "llmtp" / "bench" / "page" / "page.css").is_file()
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); "
    code += "sys.argv[1:] = ['check', 'demo', '--json']; from llmtp.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=cli.env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"]["main"]["path"].startswith(str(installed))
