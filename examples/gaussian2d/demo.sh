#!/bin/sh
# Compute the same values in four ways, compare them bit by bit, and time the last one: sh demo.sh
# STEP is the distance of the points (default: 0.002, so 2000 x 2000 of them, and 0.001 for the times).
# Pictures and values are written beside this file.
set -eu
cd "$(dirname -- "$0")"
timed=${STEP:-0.001}
export STEP="${STEP:-0.002}"

echo "== one process"
python3 2d_gaussian.py

for n in 2 4; do
    echo && echo "== $n independent commands"
    rm -rf "strips$n.txt_workdir" # else these commands would be done already
    pytaskfarmer.py --proc "$n" "strips$n.txt"
    python3 2d_gaussian_embarrassing.py --join "$n"
    cmp serial.f64 "embarrassing$n.f64"
done

echo && echo "== concurrent.futures, strips as they come"
python3 2d_gaussian_concurrent.py
cmp serial.f64 concurrent.f64

echo && echo "== run time against max_workers"
python3 2d_gaussian_concurrent.py --step "$timed" --max-workers 1,2,4,8,16

rm -rf strips2.txt_workdir strips4.txt_workdir strip-*.f64 # they would be in the way of another STEP

echo && echo "All four have the same bits."
