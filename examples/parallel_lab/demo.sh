#!/bin/sh
# Solve the lab: sh demo.sh
# Writes soln.json and async.json into the current directory. PYTHON names the interpreter (default: python3).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-python3}

"$python" -P -c 'import pytaskfarmer.runners' 2>/dev/null || {
    echo "demo.sh: $python has no package pytaskfarmer; set PYTHON to the interpreter it is installed for" >&2
    exit 2
}

"$python" "$here/lab.py"
echo
echo "Breweries, counted through a web service:"
"$python" "$here/brewery-async.py"
echo
echo "Written: soln.json, async.json"
