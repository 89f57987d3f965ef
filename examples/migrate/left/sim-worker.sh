#!/bin/sh
# Simulate events: sh sim-worker.sh INPUT OUTPUT COUNT SKIP
# A stand-in: of the energy of each event, half, rounded down, is left in the detector.
set -eu
echo "begun $2" >>journal
echo "$3 events of $1 in ${GEOMETRY:?run setup.sh first}"
awk -v geometry="$GEOMETRY" -v first="$4" -v count="$3" '
    $1 == "E" && $2 >= first && $2 < first + count { print geometry, $2, int($3 / 2) }
' "$1" >"$2.part"
mv "$2.part" "$2"
echo "ended $2" >>journal
