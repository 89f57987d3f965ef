#!/bin/bash
# Submit the whole chain: each step starts when the one before it has succeeded. To go on with what is left, submit again.
set -euo pipefail
cd "$(dirname "$0")"
export NODES=${NODES-4} PROC=${PROC-128} # nodes for SIM; slots on each node
export FARM_OPTIONS=${FARM_OPTIONS-}     # further options for the farmers of SIM
default_site="--account=m1234 --qos=regular --constraint=cpu"
site=(${SITE-$default_site})

lists=(lists/gen[0-9][0-9][0-9])
gen=$(sbatch --parsable "${site[@]}" --array="1-${#lists[@]}" gen.sbatch)
# Were SIM not cancelled when GEN fails, it would wait for ever. `pytaskfarmer submit` sees to that by itself.
sim=$(sbatch --parsable "${site[@]}" --nodes="$NODES" --dependency="afterok:$gen" --kill-on-invalid-dep=yes sim.sbatch)
# `submit` prints no id where nothing is left to do; what comes next waits for the step before, then.
digi=$(pytaskfarmer submit "${site[@]}" --time 30m --after "$sim" --proc "$PROC" \
    --tasklist digi --runner mucoll --workdir work/digi lists/digi.txt)
digi=${digi:-$sim}
reco=$(pytaskfarmer submit "${site[@]}" --time 30m --after "$digi" --proc "$PROC" \
    --tasklist reco --runner mucoll-podman -R volumes="$PWD:$PWD" -R workdir="$PWD" --workdir work/reco lists/reco.txt)
reco=${reco:-$digi}
check=$(sbatch --parsable "${site[@]}" --dependency="afterok:$reco" --kill-on-invalid-dep=yes check.sbatch)
echo "gen $gen, sim $sim, digi $digi, reco $reco, check $check"
