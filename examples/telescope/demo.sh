#!/bin/sh
# The same calls in several pools, which must agree: sh demo.sh
# Writes observations/ and, with matplotlib, scheduling.png into the current directory. PYTHON names the interpreter.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-python3}

"$python" -P -c 'import pytaskfarmer.runners' 2>/dev/null || {
    echo "demo.sh: $python has no package pytaskfarmer; set PYTHON to the interpreter it is installed for" >&2
    exit 2
}

echo "1. The spread of four arrays"
"$python" "$here/spread.py"

echo
echo "2. 96 runs, analysed where they are"
"$python" "$here/observe.py" observations
checksums=
for pool in multiprocessing local; do
    rm -f observations/*.features.jsonl
    report=$("$python" "$here/analyse.py" observations --pool "$pool")
    echo "$report"
    checksums="$checksums ${report##* }"
done
set -- $checksums
[ "$1" = "$2" ] || {
    echo "demo.sh: the pools differ" >&2
    exit 1
}

echo
echo "3. Eight calls on two workers"
if "$python" -c 'import matplotlib' 2>/dev/null; then
    "$python" "$here/scheduling.py" --picture scheduling.png
    echo "Drawn: scheduling.png"
else
    "$python" "$here/scheduling.py"
fi
