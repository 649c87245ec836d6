"""Profiles: those that ship are right, the user's own win, and every mistake names its place."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from harness import Cli, assert_one_clear_line

from llmtp.errors import UsageError
from llmtp.profiles import Profile, load_profile_file, matches

ROOT = Path(__file__).resolve().parent.parent
SIZES = ["E2B", "E4B", "12B", "26B-A4B", "31B"]
#: What stands in the names of a size: unsloth and Google write the 12B with a small b too.
SPELLINGS = {size: [size] for size in SIZES} | {"12B": ["12B", "12b"]}
MAIN_NAMES = {
    "unsloth": ["gemma-4-{}-it-UD-Q4_K_XL.gguf", "gemma-4-{}-it-Q8_0.gguf",
                "gemma-4-{}-it-UD-Q6_K_XL.gguf", "gemma-4-{}-it-Q4_K_M.gguf"],
    "unsloth-qat": ["gemma-4-{}-it-qat-UD-Q4_K_XL.gguf"],
    "google-qat": ["gemma-4-{}_q4_0-it.gguf", "gemma-4-{}-it-qat-q4_0.gguf"],
    "ggml-org": ["gemma-4-{}-it-Q4_K_M.gguf", "gemma-4-{}-it-Q8_0.gguf"],
    "bartowski": ["google_gemma-4-{}-it-Q4_K_M.gguf", "google_gemma-4-{}-it-IQ4_XS.gguf"],
}  # fmt: skip
DRAFT_NAMES = [
    "mtp-gemma-4-{}-it.gguf",
    "MTP/mtp-gemma-4-{}-it-Q8_0.gguf",
    "MTP/gemma-4-{}-it-Q8_0-MTP.gguf",
    "MTP/gemma-4-{}-it-MTP-BF16.gguf",
    "gemma-4-{}-it-assistant-MTP-Q8_0.gguf",
    "gemma-4-{}-it-qat-assistant-MTP-Q4_0.gguf",
    "gemma-4-{}-it-qat-assistant-Q8_0.gguf",
    "gemma-4-{}-it-assist-F16.gguf",
]
MMPROJ_NAMES = ["mmproj-gemma-4-{}-it-BF16.gguf", "mmproj-F16.gguf", "gemma-4-{}-it-mmproj.gguf"]
SHIPPED = ["demo", *(f"gemma-4-{size.lower()}" for size in sorted(SIZES))]
SOURCE = "sources:\n  - repository: a/b\n    main: '*.gguf'\n    quants: Q8_0\n"


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """llmtp for somebody who has no profiles yet."""
    shutil.rmtree(cli.home / ".config")
    return cli


def shipped(size: str) -> Profile:
    return load_profile_file(ROOT / "profiles" / f"gemma-4-{size.lower()}.yaml")


def write(cli: Cli, name: str, content: str) -> Path:
    """A profile of the user's own."""
    path = cli.profiles / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="")
    return path


def refused(cli: Cli, contents: Iterable[str], *, soak: bool) -> list[str]:
    """What `validate` says of each file, all in one run; `show` says the same of one alone."""
    paths = {f"bad-{i}": write(cli, f"bad-{i}", text) for i, text in enumerate(contents)}
    result = cli("profiles", "validate", *paths)
    assert result.code == 2
    assert "Traceback" not in result.stderr
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["wrong", name] for name in paths
    ]
    told = re.split(r"^(?=error: )", result.stderr, flags=re.MULTILINE)[1:]
    by_name = dict(zip(paths, told, strict=True))
    assert all(str(paths[name]) in text and "→" in text for name, text in by_name.items())
    for name in list(paths)[:: 1 if soak else 8]:
        alone = cli("profiles", "show", name)
        assert_one_clear_line(alone, 2)
        assert alone.stderr == by_name[name]
    return told


def names(size: str, patterns: list[str]) -> list[str]:
    return [pattern.format(spelling) for pattern in patterns for spelling in SPELLINGS[size]]


def kind(owner: str, *, qat: bool) -> str:
    return f"{owner}-qat" if qat else owner


def test_what_ships_is_valid(cli: Cli) -> None:
    result = cli("profiles", "validate", "--json")
    data = result.json["data"]["profiles"]
    assert (result.code, [one["name"] for one in data]) == (0, SHIPPED)
    assert {(one["origin"], one["valid"]) for one in data} == {("shipped", True)}
    assert cli("profiles", "validate").stdout.count("valid  ") == len(SHIPPED)


@pytest.mark.parametrize("size", SIZES)
def test_main_patterns_take_their_size_only(size: str) -> None:
    for source in shipped(size).sources:
        patterns = MAIN_NAMES[kind(source.repository.owner, qat=source.qat)]
        assert [name for name in names(size, patterns) if not source.is_main(name)] == []
        others = [n for other in SIZES if other != size for n in names(other, patterns)]
        assert [name for name in others if source.is_main(name)] == []


@pytest.mark.parametrize("size", SIZES)
def test_drafters_and_mmproj_are_told_from_main_models(size: str) -> None:
    sources = shipped(size).sources
    drafting = [source for source in sources if source.draft]
    # Both kinds of drafter: a QAT one belongs to a QAT main model.
    assert {source.qat for source in drafting} == {True, False}
    assert {source.repository.owner for source in drafting} == {"unsloth"}
    for source in drafting:
        for name in names(size, DRAFT_NAMES):
            assert source.is_draft(name), name
            assert not source.is_main(name), name
    for source in sources:
        for name in names(size, MMPROJ_NAMES):
            assert source.is_mmproj(name), name
            assert not source.is_main(name), name
            assert not source.is_draft(name), name
        assert not any(map(source.is_draft, names(size, MAIN_NAMES["unsloth"])))
        assert not source.is_main("README.md")


@pytest.mark.parametrize("size", SIZES)
def test_shipped_sources_stand_in_order_of_quality(size: str) -> None:
    sources = shipped(size).sources
    kinds = [kind(source.repository.owner, qat=source.qat) for source in sources]
    assert kinds == ["unsloth", "unsloth-qat", "google-qat", "unsloth", "ggml-org", "bartowski"]
    assert [source.quants[0] for source in sources[:4]] == [
        "Q8_0", "UD-Q4_K_XL", "Q4_0", "UD-Q5_K_XL"
    ]  # fmt: skip
    assert sources[0].repository == sources[3].repository
    tags = [(source.repository, quant) for source in sources for quant in source.quants]
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("size", SIZES)
def test_repositories_are_written_as_their_owners_do(size: str) -> None:
    small = {"12B": "12b"}.get(size, size)
    assert [source.repository.repo_id for source in shipped(size).sources] == [
        f"unsloth/gemma-4-{small}-it-GGUF",
        f"unsloth/gemma-4-{size}-it-qat-GGUF",
        f"google/gemma-4-{size}-it-qat-q4_0-gguf",
        f"unsloth/gemma-4-{small}-it-GGUF",
        f"ggml-org/gemma-4-{size}-it-GGUF",
        f"bartowski/google_gemma-4-{size}-it-GGUF",
    ]


@pytest.mark.parametrize("size", SIZES)
def test_sampling_and_the_ids_of_vllm(cli: Cli, size: str) -> None:
    data = cli("profiles", "show", f"gemma-4-{size}", "--json").json["data"]
    assert data["sampling"] == {"temp": 1.0, "top_k": 64, "top_p": 0.95}
    model = f"google/gemma-4-{size}-it"
    quantised = None if size == "26B-A4B" else f"{model}-qat-w4a16-ct"
    assert data["vllm"] == {
        "model": model,
        "assistant": f"{model}-assistant",
        "quantised": quantised,
        "quantised_assistant": None,
    }
    assert data["notes"]


def test_patterns_are_those_of_a_shell_with_case_ignored() -> None:
    assert matches("MTP/Gemma-4-12B-it-Q8_0-MTP.gguf", ["*mtp.gguf"])
    assert matches("a-Q8_0.gguf", ["b*", "?-[pq]8_0.GGUF"])
    assert not matches("xa.gguf", ["a.gguf"])
    assert not matches("a.gguf.part", ["a.gguf"])
    assert not matches("a.gguf", [])


def test_known_repositories_are_those_of_every_readable_profile(cli: Cli) -> None:
    write(cli, "bad", "mian: a\n")
    write(cli, "mine", SOURCE)
    code = "from llmtp.profiles import known_repositories as known; print(*known(), sep='\\n')"
    python = [sys.executable, "-c", code]
    known = subprocess.run(python, capture_output=True, text=True, env=cli.env).stdout.split()
    assert {"a/b", "unsloth/gemma-4-12b-it-GGUF"} < set(known)
    assert len(known) == 1 + 5 * len(SIZES)


def test_a_list_of_names(cli: Cli) -> None:
    result = cli("profiles")
    lines = result.stdout.splitlines()
    assert result.code == 0
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == SHIPPED
    assert all("  shipped  " in line for line in lines if not line.startswith(" "))
    write(cli, "mine", f"description: words of mine\n{SOURCE}")
    (row,) = [line for line in cli("profiles").stdout.splitlines() if line.startswith("mine")]
    assert row.split(None, 2)[1:] == ["yours", "words of mine"]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("command", [[], ["show", "gemma-4-26b-a4b"]], ids=["list", "show"])
def test_lines_fit_the_terminal(cli: Cli, width: int, command: list[str]) -> None:
    text = cli("profiles", *command, env={"COLUMNS": str(width)}).stdout
    # A path is never broken.
    long = [line for line in text.splitlines() if len(line) > width and str(ROOT) not in line]
    assert long == []
    assert "experts" in text


def test_the_users_own_wins(cli: Cli) -> None:
    path = write(cli, "gemma-4-12b", f"description: other\nnotes: mine\n{SOURCE}")
    data = cli("profiles", "show", "gemma-4-12b", "--json").json["data"]
    assert (data["path"], data["origin"], data["notes"]) == (str(path), "yours", "mine")
    assert [source["repository"] for source in data["sources"]] == ["a/b"]
    listed = cli("profiles", "--json").json["data"]["profiles"]
    assert [one["origin"] for one in listed if one["name"] == "gemma-4-12b"] == ["yours"]
    validated = cli("profiles", "validate", "--json").json["data"]["profiles"]
    assert [one["origin"] for one in validated if one["name"] == "gemma-4-12b"] == [
        "yours", "shipped"
    ]  # fmt: skip


def test_names_in_other_capitals(cli: Cli) -> None:
    assert cli("profiles", "show", "Gemma-4-12B", "--json").json["data"]["name"] == "gemma-4-12b"
    assert cli("check", "DEMO").code == 0
    write(cli, "DEMO", f"notes: mine\n{SOURCE}")
    for asked, found in (("demo", "demo"), ("DEMO", "DEMO"), ("Demo", "DEMO")):
        assert cli("profiles", "show", asked, "--json").json["data"]["name"] == found


@pytest.mark.parametrize(
    ("asked", "near"),
    [("gemma-4-12", "'gemma-4-12b'"), ("31B", "'gemma-4-31b'"), ("dmeo", "'demo'")],
)
def test_unknown_names_offer_near_ones(cli: Cli, asked: str, near: str) -> None:
    assert_one_clear_line(cli("profiles", "show", asked), 8, "no profile", f"did you mean {near}")


def test_show(cli: Cli) -> None:
    text = cli("profiles", "show", "gemma-4-31b").stdout
    for words in ("temp 1.0, top_k 64, top_p 0.95", "(QAT, has drafters)", "UD-Q5_K_XL, Q5_K_M",
                  "google/gemma-4-31B-it-assistant", "gemma-4-31b.yaml (shipped)"):  # fmt: skip
        assert words in text
    assert "n-max     3" not in text
    demo = cli("profiles", "show", "demo").stdout
    assert "demo/demo.gguf" in demo
    assert "sources" not in demo
    write(cli, "files", "main: m.gguf\nn_max: 3\n")
    data = cli("profiles", "show", "files", "--json").json["data"]
    assert (data["n_max"], data["sources"], data["vllm"]) == (3, [], None)
    assert data["sampling"] == {"temp": None, "top_k": None, "top_p": None}


def test_show_of_a_source_with_everything(cli: Cli) -> None:
    write(
        cli,
        "full",
        "sources:\n- repository: a/b@v1.0\n  qat: yes\n  main: [x*, y*]\n  draft: '*mtp*'\n"
        "  quants: [Q4_0, Q8_0]\n- repository: c/d\n  draft: '*mtp*'\nsampling: {top_p: 1}\n",
    )
    first, second = cli("profiles", "show", "full", "--json").json["data"]["sources"]
    assert first == {
        "repository": "a/b", "revision": "v1.0", "qat": True, "main": ["x*", "y*"],
        "draft": ["*mtp*"], "mmproj": [], "quants": ["Q4_0", "Q8_0"],
    }  # fmt: skip
    assert (second["revision"], second["qat"], second["quants"]) == (None, False, [])
    text = cli("profiles", "show", "full").stdout
    assert "a/b@v1.0 (QAT, has drafters)" in text
    assert "no main models" in text


def test_what_a_profile_says_cannot_steer_the_terminal(cli: Cli) -> None:
    write(cli, "odd", f'description: "a\\e[31mb"\nnotes: "c\\u202ed"\n{SOURCE}')
    for command in (["profiles"], ["profiles", "show", "odd"], ["profiles", "validate", "odd"]):
        result = cli(*command)
        assert result.code == 0
        assert not set("\x1b\u202e") & set(result.stdout + result.stderr)
    assert "a�[31mb" in cli("profiles").stdout


def test_path_names_a_folder_and_makes_none(cli: Cli) -> None:
    assert cli("profiles", "path").stdout == f"{cli.profiles}\n"
    assert cli("profiles", "path", "--json").json["data"] == {"path": str(cli.profiles)}
    assert not (cli.home / ".config").exists()


#: What is wrong with a file, where that is, and what is allowed there.
MISTAKES = [
    ("n_max: 3\n", "1: main: is missing", "or sources instead of main"),
    ("main: a.gguf\n" + SOURCE, "2: sources: stands beside main", "either main or sources"),
    ("draft: a.gguf\n" + SOURCE, "1: draft: stands without main", "draft of a source"),
    ("sources: []\n", "1: sources: has no main model", "main and quants"),
    ("\nsources: a/b\n", "2: sources: is text", "a list of mappings"),
    ("sources:\n- a/b\n", "2: sources[0]: is text", "fields, one a line"),
    ("sources:\n- {repository: a/b, draft: x}\n", "1: sources: has no main", "main and quants"),
    (SOURCE + "  - repository: c/d\n", "5: sources[1].main: is missing", "patterns of files"),
    (SOURCE + "    qat: maybe\n", "5: sources[0].qat: is 'maybe'", "true or false"),
    (SOURCE + "    qat: 1\n", "5: sources[0].qat: is '1'", "true or false"),
    (SOURCE + "    quant: Q4_0\n", "5: sources[0].quant: unknown field", "one of draft, main"),
    (SOURCE + "    main: y\n", "5: sources[0].main: is there twice, first in line 3", ""),
    (SOURCE + "    draft: ''\n", "5: sources[0].draft: is ''", "a shell pattern"),
    (SOURCE + "    draft: ' '\n", "5: sources[0].draft: is ' '", "a shell pattern"),
    (SOURCE + "    draft: [a, /b]\n", "5: sources[0].draft[1]: is '/b'", "a shell pattern"),
    (SOURCE + "    draft:\n    - a\n    - a/../b\n", "7: sources[0].draft[1]: is", "a shell"),
    (SOURCE + "    draft: '..\\x'\n", "5: sources[0].draft: is", "inside the repository"),
    (SOURCE + '    mmproj: "a\\n"\n', "5: sources[0].mmproj: is 'a�'", "a shell pattern"),
    (SOURCE + f"    mmproj: {'x' * 201}\n", "5: sources[0].mmproj: is 'xxx", "a shell pattern"),
    (SOURCE + "    mmproj: 7\n", "5: sources[0].mmproj: is int", "a shell pattern"),
    (SOURCE + "    draft: [[a]]\n", "5: sources[0].draft[0]: is list", "a shell pattern"),
    (SOURCE + "    draft: *mtp*\n", "5: not valid YAML", "quotes around a text that begins"),
    ("notes: one: two\n" + SOURCE, "1: not valid YAML", "quotes around a text with a colon"),
    ("sources:\n- repository: a/b\n  quants: Q8_0\n  draft: x\n",
     "3: sources[0].quants: stands without main", "patterns of main files"),
    ("sources:\n- repository: a/b\n  main: x\n", "2: sources[0].quants: is missing", "tags of"),
    ("sources:\n- repository: a/b\n  main: x\n  quants: [Q8_0, Q 4]\n",
     "4: sources[0].quants[1]: is 'Q 4'", "a tag such as Q4_K_M"),
    ("sources:\n- main: x\n  quants: y\n", "2: sources[0].repository: is missing",
     "OWNER/REPO or OWNER/REPO@REVISION"),
    *[(f"sources:\n- main: x\n  quants: y\n  repository: {name}\n",
       "4: sources[0].repository: is", "OWNER/REPO or OWNER/REPO@REVISION")
      for name in ("a", "a/b/c", "a/b:Q4_0", "hf:a/b", "a/..", "'a/b@'", "7", "[a/b]")],
    ("sampling: 1\n" + SOURCE, "1: sampling: is int", "fields, one a line"),
    ("sampling:\n  temp: 9\n" + SOURCE, "2: sampling.temp: is '9'", "a number from 0 to 5"),
    ("sampling:\n  temp: .nan\n" + SOURCE, "2: sampling.temp: is '.nan'", "from 0 to 5"),
    ("sampling:\n  temp: hot\n" + SOURCE, "2: sampling.temp: is 'hot'", "from 0 to 5"),
    ("sampling:\n  top_p: 1.1\n" + SOURCE, "2: sampling.top_p: is '1.1'", "from 0 to 1"),
    ("sampling:\n  top_k: 1.5\n" + SOURCE, "2: sampling.top_k: is '1.5'", "a whole number"),
    ("sampling:\n  topk: 1\n" + SOURCE, "2: sampling.topk: unknown field; did you mean 'top_k'",
     "one of temp, top_k, top_p"),
    ("vllm:\n  model: a/b\n" + SOURCE, "1: vllm.assistant: is missing", "OWNER/REPO"),
    ("vllm:\n  assistant: a/b\n" + SOURCE, "1: vllm.model: is missing", "OWNER/REPO"),
    ("vllm:\n  model: a\n  assistant: a/b\n" + SOURCE, "2: vllm.model: is 'a'", "OWNER/REPO"),
    ("vllm:\n  model: a/b@v1\n" + SOURCE, "2: vllm.model: has the revision v1", "OWNER/REPO"),
    ("vllm:\n  model: a/b\n  assistant: a/b\n  quantised: [x]\n" + SOURCE,
     "4: vllm.quantised: is list", "OWNER/REPO"),
    ("notes: [a]\n" + SOURCE, "1: notes: is list", "a text"),
    ("main: a.gguf\nn_max: 010\n", "2: n_max: is '010'", "a whole number from 0 to 16"),
    ("main: a.gguf\nn_max: 3.0\n", "2: n_max: is '3.0'", "a whole number from 0 to 16"),
    ("main: hf:a\n", "1: main: ", "hf:OWNER/REPO"),
]  # fmt: skip


@pytest.mark.soak
def test_mistakes_name_file_line_field_and_what_is_allowed(cli: Cli, soak: bool) -> None:
    told = refused(cli, [content for content, _, _ in MISTAKES], soak=soak)
    for number, (stderr, (content, place, expected)) in enumerate(zip(told, MISTAKES, strict=True)):
        assert f"bad-{number}.yaml:{place}" in stderr, content
        assert expected in stderr.partition("(expected ")[2], content


HOSTILE = {
    "an alias to itself": "main: &a [*a]\n",
    "a mapping in itself": "sources: &a\n- sampling: *a\n",
    "laughs": "a: &a [x]\n" + "".join(f"{b}: &{b} [{f'*{a},' * 9}]\n" for a, b in
                                      zip("abcdefghi", "bcdefghij", strict=True)),
    "merged laughs": "a: &a {x: 1}\nmain: {<<: [*a, *a]}\n",
    "a merge": "main: {<<: {a: b}}\n",
    "deep lists": f"main: {'[' * 60_000}\n",
    "deep mappings": f"main: {'{a: ' * 15_000}\n",
    "deep dashes": f"main:\n  {'- ' * 30_000}\n",
    "deep questions": "? " * 30_000,
    "many fields": "".join(f"k{i}: 1\n" for i in range(7000)),
    "many items": f"main: [{'a,' * 30_000}]\n",
    "many documents": "---\n" * 15_000,
    "a huge file": "# x\n" * 500_000,
    "a huge field": f"? {'k' * 60_000}\n: 1\n",
    "a huge tag": f"main: !{'t' * 60_000} x\n",
    "a huge number": f"main: a\nn_max: {'9' * 60_000}\n",
    "a huge hex number": f"main: a\nn_max: 0x{'f' * 60_000}\n",
    "a huge number of base 60": f"main: a\nn_max: {'1:' * 30_000}1\n",
    "a huge float of base 60": f"main: a\nsampling: {{temp: {'1:' * 30_000}1.5}}\n",
    "a huge float": f"main: a\nsampling: {{temp: {'9' * 60_000}.0}}\n",
    "a date": "main: 2024-99-99\n",
    "a false number": "main: a\nn_max: !!int x\n",
    "a false float": "main: a\nsampling: {temp: !!float x}\n",
    "a false list": "main: !!seq {a: b}\n",
    "a false text": "main: !!str {a: b}\n",
    "a set": "main: !!set {a, b}\n",
    "a program": "main: !!python/object/apply:os.system [ls]\n",
    "a number as field": "1: a\n",
    "a null as field": "main: a\n~: a\n",
    "a list as field": "? [a, b]\n: 1\n",
    "a mapping as field": "sampling:\n  ? {a: b}\n  : 1\nmain: a\n",
    "half a character": 'main: "\\ud800"\n',
    "no character": 'main: "\\U00110000"\n',
    "far from a character": 'main: "\\UFFFFFFFF"\n',
    "a null byte": "main: a\0b\n",
    "a version that is none": f"%YAML {'9' * 5000}.1\n---\nmain: a\n",
}  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_end_at_once(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content, encoding="utf-8", newline="")
    began = time.process_time()
    with pytest.raises(UsageError, match=r"bad\.yaml"):
        load_profile_file(path)
    assert time.process_time() - began < 1


@pytest.mark.soak
def test_hostile_files_are_told_in_one_line(cli: Cli, soak: bool) -> None:
    for stderr in refused(cli, HOSTILE.values(), soak=soak):
        assert len(stderr) < 1000


def test_hostile_files_need_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    code = (
        "import resource, sys; from pathlib import Path; from llmtp.profiles import *\n"
        "from llmtp.errors import UsageError\n"
        "from llmtp import yamlfile\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: load_profile_file(Path(sys.argv[1]))\n"
        "except UsageError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    for name in ("laughs", "deep lists", "many fields", "many items", "a huge file"):
        path.write_text(HOSTILE[name], encoding="utf-8")
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
        assert int(done.stdout) < 50_000, (name, done.stderr)


def test_files_that_are_no_text(cli: Cli) -> None:
    path = write(cli, "bad", "")
    path.write_bytes(b"main: \xff\xfe\n")
    assert_one_clear_line(cli("profiles", "show", "bad"), 2, "bad.yaml: cannot be read")


def test_validate_names_every_bad_file(cli: Cli) -> None:
    paths = [
        write(cli, "one", "mian: a\n"),
        write(cli, "two", SOURCE + "    qat: 3\n"),
        write(cli, "good", SOURCE),
        write(cli, "three", "main: [\n"),
    ]
    result = cli("profiles", "validate")
    assert result.code == 2
    words = [line.split()[:2] for line in result.stdout.splitlines()]
    mine = [["valid", "good"], ["wrong", "one"], ["wrong", "three"], ["wrong", "two"]]
    assert words == mine + [["valid", name] for name in SHIPPED]
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert [error.split(": ")[1] for error in errors] == [
        f"{paths[0]}:1", f"{paths[3]}:2", f"{paths[1]}:5"
    ]  # fmt: skip
    body = cli("profiles", "validate", "one", "good", "two", "--json").json
    assert [one["valid"] for one in body["data"]["profiles"]] == [False, True, False]
    assert [finding["level"] for finding in body["findings"]] == ["error", "error"]
    assert (body["ok"], body["exit_code"], body["command"]) == (False, 2, "profiles")


def test_validate_takes_files(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "there.yaml").write_text(SOURCE, encoding="utf-8")
    assert cli("profiles", "validate", "there.yaml").code == 0
    assert (
        cli("profiles", "show", tmp_path / "there.yaml", "--json").json["data"]["name"] == "there"
    )
    subprocess.run(["mkfifo", str(tmp_path / "pipe.yaml")], check=True)
    for wrong in (tmp_path / "pipe.yaml", "/dev/zero", tmp_path):
        result = cli("profiles", "validate", f"{wrong}/" if wrong == tmp_path else wrong)
        assert (result.code, "is no regular file" in result.stderr) == (2, True)
    gone = cli("profiles", "validate", "gone.yaml", "nobody")
    assert gone.code == 8
    assert ["there is no file gone.yaml" in gone.stderr, "no profile 'nobody'" in gone.stderr] == [
        True, True
    ]  # fmt: skip
    assert cli("profiles", "validate", "gone.yaml", "/dev/null").code == 2


def test_a_bad_file_does_not_hide_the_others(cli: Cli) -> None:
    path = write(cli, "bad", "mian: a\n")
    result = cli("profiles")
    assert result.code == 0
    assert result.stderr.startswith(f"warning: {path}:1: mian: unknown field")
    assert [line.split()[0] for line in result.stdout.splitlines() if line[0] != " "] == [
        "bad", *SHIPPED
    ]  # fmt: skip
    body = cli("profiles", "--json").json
    assert (body["ok"], [finding["level"] for finding in body["findings"]]) == (True, ["warning"])
    assert {one["name"] for one in body["data"]["profiles"] if not one["valid"]} == {"bad"}
    assert cli("profiles", "show", "demo").code == 0


def test_the_json_that_scripts_rely_on(cli: Cli) -> None:
    for command in ([], ["show", "demo"], ["validate"], ["path"]):
        result = cli("profiles", *command, "--json")
        body = result.json
        assert set(body) == {"schema", "command", "ok", "exit_code", "data", "findings"}
        assert (body["command"], body["ok"], body["findings"]) == ("profiles", True, [])
        assert result.stderr == ""
    item = {"name", "origin", "path", "description", "valid"}
    for command in ([], ["validate"]):
        listed = cli("profiles", *command, "--json").json["data"]["profiles"]
        assert {frozenset(one) for one in listed} == {frozenset(item)}
    for wrong in (["show"], ["show", "none"], ["bogus"], ["--bogus"], ["path", "x"]):
        result = cli("profiles", *wrong, "--json")
        assert result.json["exit_code"] == result.code != 0
        assert result.stderr == ""
