#!/usr/bin/env bash
# Runs the SQLite driver's own test suites, SQLite's mptest and speedtest1 on our VFS: see doc.go.
#
#   run.sh           the suites in their short form, a few minutes on two cores
#   run.sh --full    in their long form, with the encrypting VFSes and the stress tests
#   run.sh --keep    leave the temporary directory, and say where it is
#   run.sh --only=P  only the suites whose folder has P in its name
#
# Ends with 0 when all is well or when the suites cannot be had (it says so), 1 when something failed.
set -euo pipefail

short=-short keep= only= ci=1
for arg in "$@"; do
	case $arg in
	--full) short= ci= ;;
	--keep) keep=1 ;;
	--only=*) only=${arg#--only=} ;;
	*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/pagetrail-conformance.XXXXXX")
cleanup() {
	if [ -n "$keep" ]; then
		echo "left in $work"
	else
		chmod -R u+w "$work" && rm -rf "$work"
	fi
}
trap cleanup EXIT

skip() {
	echo "conformance: SKIPPED: $*"
	exit 0
}

# The copy, and a workspace in which it takes the place of the module.
cd "$repo"
module=github.com/ncruces/go-sqlite3
go mod download "$module" 2>"$work/err" || skip "the driver's module cannot be had: $(tail -n 1 "$work/err")"
source=$(go list -m -f '{{.Dir}}' "$module")
version=$(go list -m -f '{{.Version}}' "$module")
copy=$work/sqlite
cp -R "$source" "$copy"
chmod -R u+w "$copy"
mkdir "$copy/pagetrailcheck"
cp "$here"/overlay/*.go "$copy/pagetrailcheck/"
printf 'go %s\n\nuse (\n\t./sqlite\n\t%s\n)\n' "$(go list -m -f '{{.GoVersion}}')" "$repo" >"$work/go.work"

# edit FILE PERL: a change that must find what it changes, or the copy is not what we think.
edit() {
	cp "$1" "$work/before"
	perl -0pi -e "$2" "$1"
	if cmp -s "$1" "$work/before"; then
		echo "conformance: nothing to change in ${1#"$copy"/} of $version: adapt run.sh" >&2
		exit 1
	fi
}

# SQLite's connections resolve the name "os" to our VFS; everybody else's vfs.Find does not.
edit "$copy/vfs/vfs.go" 's/if vfs := Find\(name\); vfs != nil/if vfs := findForSQLite(name); vfs != nil/'
cat >"$copy/vfs/pagetrailcheck.go" <<'GO'
package vfs

import "os"

func findForSQLite(name string) VFS {
	if name == "" || name == "os" {
		if ours := Find("pagetrail"); ours != nil && os.Getenv("PAGETRAIL_CONFORMANCE") != "off" {
			return ours
		}
	}
	return Find(name)
}
GO
# One test asks which VFS a connection has: here it is ours, and the test is not about that.
edit "$copy/tests/config_test.go" 's/o != vfs\.Find\("os"\)/o == nil/'

# Databases in memory become files, and temporary directories are checked before they go. What
# stays in memory: the memory VFSes' own tests in tests/parallel, and tests/txn_test.go, which
# wants the errors that only a shared memory database gives.
packages="driver tests tests/bradfitz tests/parallel vfs/tests/mptest vfs/tests/speedtest1"
for package in $packages; do
	for file in "$copy/$package"/*_test.go; do
		if [ "${package%%/*}" != vfs ] && [ "$package" != tests/parallel ] &&
			[ "${file##*/}" != txn_test.go ] && grep -q 'memdb\.TestDB(' "$file"; then
			perl -pi -e 's/\bmemdb\.TestDB\(/pagetrailcheck.TestDB(/; s/^(\s+)("github.com\/ncruces\/go-sqlite3\/vfs\/memdb")/$1_ $2/' "$file"
		fi
		perl -pi -e 's/\b([tb])\.TempDir\(\)/pagetrailcheck.TempDir($1)/' "$file"
		if grep -q 'pagetrailcheck\.' "$file"; then
			perl -0pi -e 's/(\npackage \w+\n|\Apackage \w+\n)/$1\nimport "github.com\/ncruces\/go-sqlite3\/pagetrailcheck"\n/' "$file"
		fi
	done
	grep -lq 'pagetrailcheck\.' "$copy/$package"/*_test.go || { echo "conformance: no test of $package was reached: adapt run.sh" >&2; exit 1; }
done

export PAGETRAIL_CONFORMANCE_LOG=$work/log
touch "$PAGETRAIL_CONFORMANCE_LOG"
cd "$copy"
if ! go test -run '^$' $(printf './%s ' $packages) >"$work/out" 2>&1; then
	# Dependencies of the tests that cannot be had are no failure of ours; code that does not compile is.
	if grep -Eq 'dial tcp|no such host|connection refused|403 Forbidden|missing go.sum entry' "$work/out"; then
		skip "a dependency of the tests cannot be had: $(grep -Em1 'dial tcp|no such host|refused|Forbidden|go.sum' "$work/out")"
	fi
	cat "$work/out"
	exit 1
fi

# run PACKAGE ARGUMENTS...: one suite; when it fails, again with the operating system's VFS.
failed=0
run() {
	local package=$1 before=$SECONDS
	shift
	[[ $package == *"$only"* ]] || return 0
	: >"$PAGETRAIL_CONFORMANCE_LOG"
	if CI=$ci go test -count=1 -timeout 20m -v "$@" "./$package" >"$work/out" 2>&1; then
		verdict=passed
	elif grep -q 'pagetrail: ' "$work/out" && grep -Eq '^ +[a-z]+\.go:[0-9]+: pagetrail: /' "$work/out"; then
		verdict="FAILED: a database is not what its trail makes"
		failed=1
	elif PAGETRAIL_CONFORMANCE=off CI=$ci go test -count=1 -timeout 20m "$@" "./$package" >"$work/plain" 2>&1; then
		verdict="FAILED, and passes without our VFS"
		failed=1
	else
		verdict="failed, and fails here without our VFS too: not counted"
	fi
	awk -v package="$package" -v verdict="$verdict" -v took=$((SECONDS - before)) '
		FNR == NR && /^ *--- (PASS|BENCH)/ || /^Benchmark.*ns\/op/ { ran++ }
		FNR == NR && /^ *--- SKIP/ { skipped++ }
		FNR < NR && /: equal$/ { equal++; for (i = 1; i < NF; i++) if ($(i+1) == "transactions,") records += $i }
		END {
			printf "%-24s %s: %d tests, %d skipped, %d databases compared, %d transactions, %d s\n",
				package, verdict, ran, skipped, equal, records, took
		}' "$work/out" "$PAGETRAIL_CONFORMANCE_LOG"
	case $verdict in
	passed) grep -B1 -E '^ +--- SKIP' "$work/out" | grep -E '\.go:' | sort | uniq -c | sort -rn | head -n 5 || true ;;
	*) grep -E -- '--- FAIL|_test\.go:|pagetrail: /|panic:' "$work/out" | grep -v 'skipping' | head -n 40 ;;
	esac
}

echo "conformance: $module $version on pagetrail ${short:+(short form)}"
run driver $short
run tests $short
run tests/bradfitz $short
run tests/parallel $short -skip 'memdb|mvcc'
run vfs/tests/mptest $short -skip 'memory|mvcc'
run vfs/tests/speedtest1 -run '^$' -bench 'Benchmark_speedtest1$' -benchtime "$([ -n "$short" ] && echo 5x || echo 100x)"
[ $failed = 0 ] && echo "conformance: passed" || echo "conformance: FAILED"
exit $failed
