#!/bin/sh
# Compare the farm with the baseline, to the byte: sh tests/run_smoke.sh [FILE]
# FILE holds events (default: data/sample.csv); PYTHON is the interpreter (default: python3).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=${PYTHON:-python3}
events=${1:-$here/data/sample.csv}
work=$(mktemp -d "${TMPDIR:-/tmp}/hep_cuts.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for cuts in 2 3; do
    "$python" "$here/task_farm_HEP_seq.py" --input "$events" --n-cuts $cuts >"$work/text"
    head -n -2 "$work/text" >"$work/expected" # the last two lines tell the time
    for farm in "1 --chunk 243" "2 --chunk 100" "3 --chunk 1000 --seed 5"; do
        # shellcheck disable=SC2086  # these are words
        "$python" "$here/task_farm_HEP.py" --input "$events" --n-cuts $cuts --workers $farm >"$work/text" 2>"$work/said"
        head -n -2 "$work/text" >"$work/found"
        cmp "$work/expected" "$work/found"
        echo "ok: $cuts cuts, --workers $farm: $(cat "$work/said")"
    done
done
