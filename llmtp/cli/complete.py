"""What the shell offers on TAB: names of profiles, files that are here, and servers.

Called on every TAB, so that nothing may be read that is not listed by its name. Names of files may
be anybody's, and shells put what they are offered into the line as it is: only plain ones are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

_HARMLESS = frozenset("._+@%,=-")
_DEEPEST = 4


def models(incomplete: str) -> list[str]:
    """Profiles and GGUF files."""
    return [*_profiles(incomplete), *_files(incomplete, (".gguf",))]


def drafters(incomplete: str) -> list[str]:
    """What `--draft` takes."""
    words = [word for word in ("auto", "off") if word.startswith(incomplete)]
    return [*words, *_files(incomplete, (".gguf",))]


def profile_files(incomplete: str) -> list[str]:
    """Profiles by name, and YAML files."""
    return [*_profiles(incomplete), *_files(incomplete, (".yaml", ".yml"))]


def files(incomplete: str) -> list[str]:
    """Any file."""
    return list(_files(incomplete, ("",)))


def servers(incomplete: str) -> list[str]:
    """Ids of those that have not ended."""
    from llmtp.server.registry import entries

    return [one.id for one in entries()[0] if not one.is_over and one.id.startswith(incomplete)]


def known_servers(incomplete: str) -> list[str]:
    """Ids of those too that have ended: `logs` and `wait` know them."""
    from llmtp.server.registry import entries

    return [one.id for one in entries()[0] if one.id.startswith(incomplete)]


def _profiles(incomplete: str) -> list[str]:
    from llmtp.errors import UsageError
    from llmtp.profiles import profile_names

    try:
        names = profile_names()
    except UsageError:  # whoever runs a command is told; here is the line that is being typed
        return []
    return [name for name in names if name.startswith(incomplete) and _is_plain(name)]


def _files(incomplete: str, endings: Sequence[str], depth: int = 0) -> Iterator[str]:
    """Files with these endings and folders, as they are typed; what is in a folder where that is
    the only one that fits."""
    folder, _, start = incomplete.rpartition("/")
    typed = f"{folder}/" if "/" in incomplete else ""
    found, folders = [], []
    for name, is_folder in _listed(os.path.expanduser(typed) or ".", start):  # noqa: PTH111 - as it was typed
        if not _is_plain(name) or (name[0] == "." and not start):
            continue
        if name[0] == "-" and not typed:
            continue  # an option, as it would stand there
        if is_folder:
            folders.append(f"{typed}{name}/")
        elif name.lower().endswith(tuple(endings)):
            found.append(f"{typed}{name}")
    if len(folders) == 1 and not found and depth < _DEEPEST:
        yield from _files(folders[0], endings, depth + 1)
    else:
        yield from (*found, *folders)


def _listed(folder: str, start: str) -> list[tuple[str, bool]]:
    """Names in a folder, in order, and which are folders; none where nobody may look."""
    try:
        with os.scandir(folder) as entries:
            return sorted((one.name, one.is_dir()) for one in entries if one.name.startswith(start))
    except OSError:
        return []


def _is_plain(name: str) -> bool:
    return all(one.isalnum() or one in _HARMLESS for one in name)
