#!/bin/sh
# Find the best cut without a farm and with three, and compare: sh demo.sh [FILE]
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

echo "== one setting after the other, without a farm"
"$python" "$here/task_farm_HEP_seq.py" --input "$events" --output "$work/baseline.json" >"$work/baseline.txt"
cat "$work/baseline.txt"

# Prints what was found, unless it is what the baseline found: all lines but the last two, which tell the time.
compare() {
    [ "$(head -n -2 "$work/$1.txt")" = "$(head -n -2 "$work/baseline.txt")" ] || {
        cat "$work/$1.txt"
        echo "demo.sh: this is another answer than that of the baseline" >&2
        exit 1
    }
    echo "the same answer"
}

echo && echo "== as a command for each chunk of settings"
"$python" "$here/make_tasks.py" --input "$events" --results "$work/results" --output "$work/tasks.txt"
pytaskfarmer.py --proc "$procs" "$work/tasks.txt"
"$python" "$here/merge.py" "$work/results" --expect "$work/baseline.json" >"$work/commands.txt"
compare commands

echo && echo "== with the runner hep, whose workers keep the events"
"$python" "$here/make_tasks.py" --hep --input "$events" --output "$work/chunks.txt"
pytaskfarmer.py --proc "$procs" -r hep "$work/chunks.txt"
"$python" -m pytaskfarmer results "$work/chunks.txt" --merge pytaskfarmer.runners.cut_scan:merge >"$work/merged.json"
"$python" "$here/report.py" "$work/merged.json" >"$work/hep.txt"
compare hep

echo && echo "== as calls from Python, with Pool"
"$python" "$here/task_farm_HEP.py" --input "$events" --workers "$procs" >"$work/pool.txt"
compare pool

echo
echo "The three farms and the sequential baseline agree."
