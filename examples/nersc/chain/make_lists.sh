#!/bin/bash
# Write the task lists of all steps: make_lists.sh FILES EVENTS
# FILES files of EVENTS events each are generated; pieces of 10 events are simulated, digitised and reconstructed.
# Each element of GEN's array job generates PER_JOB files (default: 128): as many as a node has slots, or more.
set -euo pipefail
files=$1 events=$2
mkdir -p lists work log out/{gen,sim,digi,reco}

for ((i = 1; i <= files; i++)); do
    echo "shifter --image=docker:user/whizard:3.1 -- bash gen-worker.sh out/gen/zh_$i.hepmc $i $events"
done >lists/gen.txt
rm -f lists/gen[0-9][0-9][0-9]
split --lines="${PER_JOB:-128}" --suffix-length=3 --numeric-suffixes=1 lists/gen.txt lists/gen # gen001, gen002, ...

# One input per line: the handlers make commands of them.
for ((i = 1; i <= files; i++)); do echo "out/gen/zh_$i.hepmc"; done >lists/sim.txt
for step in digi:sim reco:digi; do
    for ((i = 1; i <= files; i++)); do
        for ((piece = 0; piece * 10 < events; piece++)); do
            echo "out/${step#*:}/zh_$i.$piece.edm4hep.root"
        done
    done >"lists/${step%:*}.txt"
done
wc -l lists/gen.txt lists/sim.txt lists/digi.txt lists/reco.txt
