#!/bin/bash
# The chain GEN -> SIM -> DIGI -> RECO on a machine without Slurm, containers and HEP software: bash demo.sh
# Everything is written to a fresh directory below $TMPDIR or /tmp, which stays for you to look around in.
set -euo pipefail
umask 022 # INI files that others can write to are not obeyed

here=$(cd -- "$(dirname -- "$0")" && pwd)
command -v pytaskfarmer.py >/dev/null || {
    echo "demo.sh: pytaskfarmer.py is not on PATH; activate the environment it is installed in" >&2
    exit 2
}
work=$(mktemp -d "${TMPDIR:-/tmp}/nersc.XXXXXX")
trap '[ $? = 0 ] || echo "demo.sh: this has failed; see $work" >&2' EXIT
cp -R "$here/chain/." "$work"
mkdir -p "$work/home/.pytaskfarmer"
cp -R "$here/pytaskfarmer.d/." "$work/home/.pytaskfarmer"
cd "$work"
# `pip install --user` must be found although HOME is another one.
PYTHONUSERBASE=$(python3 -m site --user-base || :)
export PYTHONUSERBASE HOME=$work/home PATH=$here/stand-ins/slurm:$here/stand-ins/software:$PATH STAND_IN_JOBS=$work/jobs
[ -t 1 ] && bold=$(printf '\033[1m') plain=$(printf '\033[0m') || bold='' plain=''

say() { printf '\n'; printf '%s\n' "$@"; }
run() {
    printf '%s$ %s%s\n' "$bold" "$1" "$plain"
    eval "$1" 2>&1
}

say "Names for what is used again and again are in INI files. A runner says where tasks run, a handler what they are:"
run "sed -n '/mucoll]/,/setup/p' ~/.pytaskfarmer/runners.d/mucoll.ini"
run "sed -n '/sim]/,/seed/p' ~/.pytaskfarmer/tasklists.d/mucoll.ini"

say "Lists for all steps. Those of GEN are lines to run, and cut up for the elements of an array job:"
run "PER_JOB=2 ./make_lists.sh 8 30"
run "head -n 2 lists/gen001"

say "The other steps list their inputs, which are not there yet. What DIGI will run for the first one:"
run "pytaskfarmer show -n 1 --tasklist digi lists/digi.txt"

say "GEN is an array job, SIM runs on several nodes. Their scripts are our own:"
run "cat gen.sbatch"
run "cat sim.sbatch"

say "Those of DIGI and RECO are made by \`pytaskfarmer submit\`. This submits all steps, each to start when the one" \
    "before has succeeded. (Here \`sbatch\` is a stand-in that runs each job at once, and two nodes are this machine:" \
    "so --allow-local.)"
run "NODES=2 PROC=2 FARM_OPTIONS=--allow-local ./submit.sh"

say "How did it go? Each step has a work directory, and each job an output:"
run "for w in work/gen00? work/sim work/digi work/reco; do pytaskfarmer status \$w; done"
run "cat log/sim_*.out"

say "The check, the last job, compares the end of the chain with its beginning:"
run "cat log/check.out"
grep -q 'as expected' log/check.out

say "All this is in $work: look around, then remove it."
