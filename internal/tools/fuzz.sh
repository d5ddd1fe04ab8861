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
		if (cd "$dir" && "$work/fuzz.test" -test.run='^$' -test.fuzz="^$name\$" -test.fuzztime="$time" \
			-test.fuzzcachedir="$work/cache" -test.fuzzminimizetime=5s) >"$work/out" 2>&1; then
			echo "ok  	$pkg $name"
		else
			failed=$((failed + 1))
			cat "$work/out"
			echo "FAIL	$pkg $name"
		fi
	done
done
echo "$targets fuzz targets, $failed failed"
[ "$failed" -eq 0 ]
