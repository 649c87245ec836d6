#!/bin/sh
# A commit message for what is staged:
#   git commit -em "$(scripts/examples/commit-message.sh gemma-4-12b)"
set -eu
model=${1:?usage: commit-message.sh MODEL}

git rev-parse --git-dir >/dev/null
git diff --cached --quiet && {
    echo "commit-message: nothing is staged" >&2
    exit 1
}
{
    echo "Write a git commit message for this change: one line of at most 60 characters."
    git diff --cached --stat --patch | head -c 20000
} | llmtp run "$model" --ask - --quiet
