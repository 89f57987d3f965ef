#!/bin/bash
#SBATCH --job-name=hep_cuts --nodes=1 --exclusive --time=00:30:00
#SBATCH --signal=B:USR1@60
# Scan the cuts in a batch job: sbatch job.sh FILE [CUTS], in this directory; elsewhere, HEP_CUTS has to name it.
# Out of time it ends with status 3, and the same command goes on where it was. `bash job.sh FILE` runs it here.
set -u
here=${HEP_CUTS:-${SLURM_SUBMIT_DIR:-$(dirname -- "$0")}} # in a job, $0 is a copy elsewhere
python=${PYTHON:-python3}
events=${1:?the file of events} cuts=${2:-3}
list=$(basename -- "$events").cuts$cuts.txt

"$python" "$here/make_tasks.py" --hep --input "$events" --n-cuts "$cuts" --output "$list" || exit

# Never as a plain line: bash would wait for it, and die of the signal at the end of the job before the farmer has
# stopped its tasks.
pytaskfarmer.py --proc "${PROCS:-auto}" -r hep -R cuts="$cuts" "$list" &
farmer=$!
trap 'kill $farmer' TERM USR1
while kill -0 $farmer 2>/dev/null; do wait $farmer; done # a signal ends `wait` early
wait $farmer
status=$?
[ $status -eq 0 ] || exit $status # 1: tasks have failed; 3: out of time

set -o pipefail
"$python" -m pytaskfarmer results "$list" --merge pytaskfarmer.runners.cut_scan:merge | "$python" "$here/report.py"
