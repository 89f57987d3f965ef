#!/bin/bash
# Generate events: gen-worker.sh OUTPUT SEED EVENTS
# In a directory of its own, since Whizard leaves many files; OUTPUT appears only when it is complete.
set -euo pipefail
start=$PWD output=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
cd "$scratch"
sed "s/SEED/$2/; s/EVENTS/$3/" "$start/steer/process.sin" >run.sin
whizard run.sin
cp zh.hepmc "$output.part"
mv "$output.part" "$output"
