#!/bin/sh
# Find the best cut with a farm and without one, and compare: sh demo.sh [FILE]
# FILE holds events; without it some are made up. KEEP=1 keeps the directory that everything is written to,
# PROCS sets the number of slots (default: the CPUs), PYTHON the interpreter (default: python3).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-python3}
procs=${PROCS:-$(nproc)}

command -v pytaskfarmer.py >/dev/null || {
    echo "demo.sh: pytaskfarmer.py is not on PATH; activate the environment it is installed in" >&2
    exit 2
}
"$python" -c 'import pytaskfarmer.runners' 2>/dev/null || {
    echo "demo.sh: $python has no package pytaskfarmer; set PYTHON to the interpreter it is installed for" >&2
    exit 2
}

work=$(mktemp -d "${TMPDIR:-/tmp}/hep_cuts.XXXXXX")
clean() {
    if [ "${KEEP:-0}" = 1 ]; then
        echo "kept: $work (timeline: $work/tasks.txt_workdir/timeline.json)"
    else
        rm -rf -- "$work"
    fi
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

events=${1:-$work/events.csv}
[ $# -gt 0 ] || "$python" "$here/generate_events.py" --events 2000 --seed 1234 --output "$events"

"$python" "$here/make_tasks.py" --input "$events" --results "$work/results" --output "$work/tasks.txt"
pytaskfarmer.py --proc "$procs" "$work/tasks.txt"
"$python" "$here/task_farm_HEP_seq.py" --input "$events" --output "$work/baseline.json" >/dev/null
echo
"$python" "$here/merge.py" "$work/results" --expect "$work/baseline.json"
echo
echo "The farm and the sequential baseline agree."
