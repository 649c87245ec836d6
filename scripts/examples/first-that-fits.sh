#!/bin/sh
# Serves the first of some models that fits this machine, from the largest to the smallest:
#   scripts/examples/first-that-fits.sh gemma-4-31b gemma-4-12b gemma-4-e4b -- --port 8080
# Exit code 4 of plan means "does not fit"; every other failure is the caller's to see.
set -eu

models=
while [ $# -gt 0 ]; do
    case $1 in
    --)
        shift
        break
        ;;
    *) models="$models $1" ;;
    esac
    shift
done

for model in $models; do
    code=0
    llmtp plan "$model" --strict --quiet >/dev/null || code=$?
    case $code in
    0) exec llmtp run "$model" --strict "$@" ;;
    4) echo "first-that-fits: $model does not fit" >&2 ;;
    *) exit "$code" ;;
    esac
done
exit 4
