#!/bin/sh
# The first five minutes with pytaskfarmer, typed by a script: sh demo.sh
# Everything is written to a fresh directory below $TMPDIR or /tmp, which stays for you to look around in.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
command -v pytaskfarmer.py >/dev/null || {
    echo "demo.sh: pytaskfarmer.py is not on PATH; activate the environment it is installed in" >&2
    exit 2
}
work=$(mktemp -d "${TMPDIR:-/tmp}/hello.XXXXXX")
cd "$work"
cp "$here/bars.py" .
farmer=
trap '[ -z "$farmer" ] || kill "$farmer" 2>/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
[ -t 1 ] && bold=$(printf '\033[1m') plain=$(printf '\033[0m') || bold='' plain=''

say() { printf '\n'; printf '%s\n' "$@"; }
fail() { echo "demo.sh: $1; see $work" >&2; exit 1; }
show() { printf '%s$ %s%s\n' "$bold" "$1" "$plain"; }

# Show a command, run it, and show its exit status where that is not 0. It has to be $2, by default 0.
run() {
    show "$1"
    status=0
    eval "$1" 2>&1 || status=$?
    [ "$status" = 0 ] || printf '(exit status %s)\n' "$status"
    [ "$status" = "${2:-0}" ] || fail "expected exit status ${2:-0}"
}

# Twelve files with the numbers from 1 to 1200. 05 and 06 are pipes for now: who reads them waits.
mkdir numbers sums
seq 1200 | split -l 100 -d - numbers/
mkdir later
mv numbers/05 numbers/06 numbers/08 later
mkfifo numbers/05 numbers/06
exec 3<>numbers/05 4<>numbers/06
for i in $(seq -w 0 11); do echo "awk '{ sum += \$1 } END { print sum }' numbers/$i > sums/$i"; done >tasks.txt

say "Twelve files of numbers are to be added up, one command for each. The list is a text file:"
run "head -n 3 tasks.txt"

say "This runs it, two tasks at a time. (The files 05 and 06 are slow to come, so there is time to look.)"
show "pytaskfarmer.py --proc 2 tasks.txt > farm.out &"
pytaskfarmer.py --proc 2 tasks.txt >farm.out 2>&1 3>&- 4>&- &
farmer=$!
until pytaskfarmer status tasks.txt 2>/dev/null | grep -q '5 finished, 0 failed, 2 running'; do
    kill -0 "$farmer" 2>/dev/null || fail "the farm ended early: $(cat farm.out)"
done
run "pytaskfarmer status tasks.txt"

say "Disaster: the farmer is killed, as by a node that crashes. It cannot tidy up."
pid=$(pytaskfarmer status tasks.txt | sed -n 's/.* pid \([0-9]*\) .*/\1/p')
show "kill -KILL $pid"
kill -KILL "$pid"
wait "$farmer" || true
farmer=
run "cat farm.out"
run "pytaskfarmer status tasks.txt"

exec 3>&- 4>&-
rm numbers/05 numbers/06
mv later/05 later/06 numbers
say "Type the same command again, and it goes on. What had finished does not run again."
run "pytaskfarmer.py --proc 2 tasks.txt" 1

say "One task has failed, and the exit status says so. Which, and why?"
run "pytaskfarmer status tasks.txt"
run "pytaskfarmer logs tasks.txt 8"

say "Somebody forgot to copy a file. Here it is; then failed tasks, and only those, run once more:"
run "cp later/08 numbers/"
run "pytaskfarmer.py --proc 2 tasks.txt --retry-failed"

say "Was every file added once? The numbers from 1 to 1200 make 720600."
run "cat sums/* | awk '{ sum += \$1 } END { print sum }'"
total=$(cat sums/* | awk '{ sum += $1 } END { print sum }')
[ "$total" = 720600 ] || fail "the sum is wrong"

say "All that is known of the run is in files. Each task is a line with its id, counted from 0:"
run "cd tasks.txt_workdir && wc -l toprocess failed finished; cd .."
run "tail -n 2 tasks.txt_workdir/finished"

say "timeline.json tells which slot ran what and when; open it at ui.perfetto.dev. As text:"
run "python3 bars.py tasks.txt_workdir/timeline.json"

say "All this is in $work: look around, then remove it."
