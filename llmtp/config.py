"""The user's `config.yaml`: defaults that hold for every command."""

from __future__ import annotations

from dataclasses import dataclass

from llmtp import paths


@dataclass(frozen=True, slots=True)
class Config:
    """`engine`: path of the llama-server to try before the one on PATH."""

    engine: str | None = None


def load_config() -> Config:
    """Read the config file if there is one; raises UsageError naming the wrong line."""
    path = paths.config_dir() / "config.yaml"
    if not path.is_file():
        return Config()
    from llmtp import yamlfile

    file = yamlfile.load(path)
    file.only({"engine"})
    return Config(engine=file.text("engine"))
