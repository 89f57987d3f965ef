#!/bin/sh
# Time the farm with 1, 2, 4 and 8 workers and plot the times: sh bench.sh [FILE]
# FILE holds events; without it EVENTS (20000) are made up. WORKERS ("1 2 4 8") are the numbers to try, CUTS (6) and
# CHUNK (8000) those of the scan, and it is all done REPEAT (1) times. Times are appended to results/python_runtime.txt
# in the current directory.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-python3}
cuts=${CUTS:-6} chunk=${CHUNK:-8000}
times=results/python_runtime.txt
work=$(mktemp -d "${TMPDIR:-/tmp}/hep_cuts.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

events=${1:-$work/events.csv}
[ $# -gt 0 ] || "$python" "$here/generate_events.py" --events "${EVENTS:-20000}" --output "$events"

mkdir -p results
count=$(($(wc -l <"$events") - 1))
echo "# $(date +%Y-%m-%dT%H:%M:%S) $(uname -n), $(nproc) CPUs, $count events, $cuts cuts, --chunk $chunk" >>"$times"
for workers in $(for _ in $(seq "${REPEAT:-1}"); do echo "${WORKERS:-1 2 4 8}"; done); do
    "$python" "$here/task_farm_HEP.py" --input "$events" --n-cuts "$cuts" --chunk "$chunk" --workers "$workers" >"$work/text"
    echo "$workers $(sed -n 's/^Elapsed time *: *//p' "$work/text")" >>"$times"
    grep -v -e '^Elapsed time' -e '^task time' "$work/text" >"$work/answer.$workers"
    [ -e "$work/answer" ] || cp "$work/answer.$workers" "$work/answer"
    cmp "$work/answer" "$work/answer.$workers" # all must find the same
done
"$python" "$here/plot_runtime.py" "$times"
