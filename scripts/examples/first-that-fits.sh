#!/bin/sh
# Serves the first of some models that fits this machine, as they are named:
#   scripts/examples/first-that-fits.sh gemma-4-31b gemma-4-12b gemma-4-e4b -- --port 8080
# Exit code 4 of plan means "does not fit"; every other failure is the caller's to see.
set -eu
: "${1:?usage: first-that-fits.sh MODEL... [-- OPTIONS OF RUN]}"

while [ $# -gt 0 ] && [ "$1" != -- ]; do
    model=$1
    shift
    code=0
    llmtp plan "$model" --strict --quiet >/dev/null || code=$?
    case $code in
    0)
        while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
        [ $# -eq 0 ] || shift
        exec llmtp run "$model" --strict "$@"
        ;;
    4) echo "first-that-fits: $model does not fit" >&2 ;;
    *) exit "$code" ;;
    esac
done
exit 4
