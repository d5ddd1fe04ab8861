#!/usr/bin/env bash
# Runs every fuzz target of the module for a while, each after the other:
#
#   internal/tools/fuzz.sh 5s [package directory ...]
#
# A package is compiled once for all its targets. An input that fails a target
# is left in the package's testdata/fuzz: make it a named seed, then mend the code.
set -euo pipefail

time=${1:?how long, for instance 5s}
shift
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fuzz DIR NAME runs one target of the compiled package.
fuzz() {
	(cd "$1" && "$work/fuzz.test" -test.run='^$' -test.fuzz="^$2\$" -test.fuzztime="$time" \
		-test.fuzzcachedir="$work/cache" -test.fuzzminimizetime=10x) >"$work/out" 2>&1
}

# ended_late says whether a run failed on nothing but its own clock: when the time
# is over in the middle of an input, Go 1.26 may report its deadline as a failure
# of the target (golang/go#75804). Such a run is done once more, and counts as it is
# if that ends in the same way: it took its time and found nothing.
ended_late() {
	grep -q 'context deadline exceeded' "$work/out" && ! grep -qE 'Failing input|hung or terminated' "$work/out"
}

# A target that is run less often than this hangs, or is too slow to find anything:
# go test calls both a success.
least=10

if [ $# -eq 0 ]; then
	set -- $(go list -f '{{.Dir}}' ./...)
fi
targets=0 failed=0
for dir in "$@"; do
	names=$(cat "$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*\*testing\.F).*/\1/p' | sort -u) || true
	[ -n "$names" ] || continue
	pkg=${dir#"$PWD"/}
	go test -c -fuzz=Fuzz -o "$work/fuzz.test" "$dir"
	for name in $names; do
		targets=$((targets + 1))
		ok=yes
		fuzz "$dir" "$name" || { ended_late && fuzz "$dir" "$name"; } || ended_late || ok=no
		runs=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$work/out" | tail -1)
		if [ "$ok" = yes ] && [ "${runs:-0}" -lt "$least" ]; then
			ok=no
			echo "$name was run ${runs:-0} times in $time: does it hang?" >>"$work/out"
		fi
		if [ "$ok" = yes ]; then
			echo "ok  	$pkg $name $runs runs"
		else
			failed=$((failed + 1))
			cat "$work/out"
			echo "FAIL	$pkg $name"
		fi
	done
done
echo "$targets fuzz targets, $failed failed"
[ "$failed" -eq 0 ]
