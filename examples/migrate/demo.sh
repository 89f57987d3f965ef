#!/bin/sh
# Resume what PyTaskFarmer 0.1.0 has left behind, typed by a script: sh demo.sh
# It works on a copy of `left` below $TMPDIR or /tmp, which stays for you to look around in.
set -eu
umask 022 # INI files that others can write to are not obeyed

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
command -v pytaskfarmer.py >/dev/null || {
    echo "demo.sh: pytaskfarmer.py is not on PATH; activate the environment it is installed in" >&2
    exit 2
}
work=$(mktemp -d "${TMPDIR:-/tmp}/migrate.XXXXXX")
cp -R "$here/left/." "$work"
cd "$work"
# Its home directory and its `shifter` are in the copy, too; `pip install --user` must be found all the same.
PYTHONUSERBASE=$(python3 -m site --user-base || :) HOME=$work/home PATH=$work/bin:$PATH
export PYTHONUSERBASE HOME PATH
[ -t 1 ] && bold=$(printf '\033[1m') plain=$(printf '\033[0m') || bold='' plain=''

say() { printf '\n'; printf '%s\n' "$@"; }
fail() { echo "demo.sh: $1; see $work" >&2; exit 1; }

# Show a command, run it, and show its exit status where that is not 0. It has to be $2, by default 0.
run() {
    printf '%s$ %s%s\n' "$bold" "$1" "$plain"
    status=0
    eval "$1" 2>&1 || status=$?
    [ "$status" = 0 ] || printf '(exit status %s)\n' "$status"
    [ "$status" = "${2:-0}" ] || fail "expected exit status ${2:-0}"
}

say "PyTaskFarmer 0.1.0 was killed in this directory, with half of the list done:"
run "ls -C"
run "head -n 3 sim.txt"
run "cat ~/.pytaskfarmer/runners.d/mucoll.ini ~/.pytaskfarmer/tasklists.d/plain.ini"
run "wc -l wd_sim/toprocess wd_sim/finished wd_sim/failed"

say "The list has 12 tasks, and here are 10. Two ran when it was killed; 0.1.0 itself would never run them again." \
    "This program reads the same files. What it would start, without starting anything:"
run "pytaskfarmer show --runner mcd-runner --tasklist plain -n 1 sim.txt"

say "And now the command that was typed for 0.1.0, typed again:"
run "pytaskfarmer.py --proc 2 --workdir wd_sim --runner mcd-runner --tasklist plain sim.txt" 1

say "All have run, but for the task that had failed before. It is not tried again unless you say so. Why did it fail?"
run "pytaskfarmer status wd_sim"
run "pytaskfarmer logs wd_sim 3"

say "The input was never renamed when its copy was complete. Then once more, for failed tasks:"
run "mv in/03.hepmc.part in/03.hepmc"
run "pytaskfarmer.py --proc 2 --workdir wd_sim --runner mcd-runner --tasklist plain --retry-failed sim.txt"

say "Each task writes to a journal when it begins and when it ends. Did one end twice, under 0.1.0 and now?"
run "grep -c ended journal"
run "grep ended journal | sort | uniq -d"

say "None did, and 12 have ended. Those that began twice are the two that were killed, and the one that failed:"
run "grep begun journal | sort | uniq -d"

say "The result is complete: 12 files of 5 events, which left an energy of 1560."
run "cat out/*.txt | awk '{ sum += \$3 } END { print NR, sum }'"
[ "$(cat out/*.txt | awk '{ sum += $3 } END { print NR, sum }')" = "60 1560" ] || fail "the result is not complete"
[ "$(grep ended journal | sort | uniq | wc -l)" = "$(grep -c ended journal)" ] || fail "a task has ended twice"

say "All this is in $work: look around, then remove it."
