#!/bin/sh
# Is the drafter worth it on this machine? Serves the model with it if so, and without it if not:
#   scripts/examples/faster-or-off.sh gemma-4-12b 1.1 --port 8080
# Exit code 10 of bench means "the speed-up that was required was missed".
set -eu
model=${1:?usage: faster-or-off.sh MODEL SPEEDUP [OPTIONS OF RUN]}
least=${2:?usage: faster-or-off.sh MODEL SPEEDUP [OPTIONS OF RUN]}
shift 2

code=0
llmtp bench "$model" --n-max 2 --workload code --budget 60 --require-speedup "$least" --quiet ||
    code=$?
case $code in
0) exec llmtp run "$model" --n-max 2 "$@" ;;
10) exec llmtp run "$model" --draft off "$@" ;;
*) exit "$code" ;;
esac
