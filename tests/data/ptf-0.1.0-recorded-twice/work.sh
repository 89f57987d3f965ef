# What the tasks do: `sh work.sh ID [FILE]` appends ID to `ran`, and fails where FILE is wanted and missing.
[ "$1" -lt "${SLOW:-99}" ] || sleep 100
[ -z "$2" ] || [ -e "$2" ] || exit 3
echo "$1" >> ran
