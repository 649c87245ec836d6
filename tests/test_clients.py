"""Other people's clients against a server that llmtp runs, set up as the README says."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import WAIT_S, Cli, Result

OPENAI = """
from openai import OpenAI
client = OpenAI()
question = [{"role": "user", "content": "hello"}]
answer = client.chat.completions.create(model="any", messages=question, max_tokens=16)
print(answer.choices[0].message.content)
more = {"stream": True, "stream_options": {"include_usage": True}}
pieces = client.chat.completions.create(model="any", messages=question, max_tokens=16, **more)
streamed, usage = "", None
for piece in pieces:
    usage = piece.usage or usage
    if piece.choices:
        streamed += piece.choices[0].delta.content or ""
assert streamed == answer.choices[0].message.content, (streamed, answer)
assert usage.completion_tokens == answer.usage.completion_tokens == 16
assert len(client.models.list().data) == 1
"""
CURL = """
curl --silent --show-error --fail "$OPENAI_BASE_URL/chat/completions" \\
    --header "Authorization: Bearer $OPENAI_API_KEY" --header "Content-Type: application/json" \\
    --data '{"messages": [{"role": "user", "content": "hello"}], "max_tokens": 16}'
"""
MODELS = """
- model_id: local
  model_name: local
  api_base: "{url}"
  api_key_name: llmtp
"""


@pytest.fixture(params=["", "--make-key"], ids=["open", "with a key"])
def server(cli: Cli, request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that stays; its answer to `hello`."""
    words = ["run", "crafted", "--detach", "-q", *filter(None, [request.param])]
    assert cli(*words).code == 0
    yield cli("run", "crafted", "--ask", "hello", "-q", "--draft", "off").stdout
    assert cli("stop", "crafted").code == 0


def client(cli: Cli, line: str) -> Result:
    """A shell line, with the environment that `llmtp env` is for."""
    script = f'eval "$({cli.program} env)" && {line}'
    done = subprocess.run(
        ["bash", "-c", script], env=cli.env, cwd=cli.folder, capture_output=True, text=True,
        timeout=WAIT_S, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def by_curl(cli: Cli) -> str:
    result = client(cli, CURL.strip())
    assert result.code == 0, result.stderr
    return str(json.loads(result.stdout)["choices"][0]["message"]["content"])


def by_openai(cli: Cli) -> str:
    script = cli.folder / "client.py"
    script.write_text(textwrap.dedent(OPENAI), encoding="utf-8")
    result = client(cli, f"{sys.executable} -W ignore {script}")
    assert result.code == 0, result.stderr
    return result.stdout.strip()


def by_llm(cli: Cli) -> str:
    """By its file of further models; without a stored key of that name it takes the variable."""
    url = cli("env", "--json").json["data"]["OPENAI_BASE_URL"]
    file = cli.folder / "llm" / "extra-openai-models.yaml"
    file.parent.mkdir()
    file.write_text(MODELS.format(url=url), encoding="utf-8")
    cli.env |= {"LLM_USER_PATH": str(file.parent), "PYTHONWARNINGS": "ignore"}
    llm = Path(sys.executable).with_name("llm")
    result = client(cli, f"{llm} -m local --no-stream -o max_tokens 16 hello")
    assert result.code == 0, result.stderr
    return result.stdout.strip()


def test_clients_of_others_get_the_answer(cli: Cli, server: str) -> None:
    for ask in (by_curl, by_openai, by_llm):
        said = ask(cli)
        assert said, ask
        assert server.startswith(said), ask
