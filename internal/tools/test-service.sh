#!/usr/bin/env bash
# The tests that want a running object store, against one on loopback, with a directory that is removed afterwards:
#
#   internal/tools/test-service.sh s3|azure|gcs [flag of go test ...]
#
# s3 is versitygw. Its file system must have extended attributes, in which versitygw keeps ETags: with its --sidecar they
# are in files of their own, a read beside a write may get the content of one and the ETag of the other, and swaps get
# lost. azure is Azurite, from npm; gcs is fake-gcs-server.
set -euo pipefail
kind=${1:?which service: s3, azure or gcs}
shift
cd "$(dirname "$0")/../.."
go=${GO:-go}
mkdir -p bin
dir=$(mktemp -d)
server=
stop() {
	if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; fi
	rm -rf "$dir"
}
trap stop EXIT
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# start runs a command with a free port in the place of PORT, until it answers there.
start() {
	for _ in 1 2 3 4 5; do # a port that is free now may not be in a moment
		port=$((20000 + RANDOM % 20000))
		if answers "$port"; then continue; fi
		"${@//PORT/$port}" >"$dir/log" 2>&1 &
		server=$!
		for _ in $(seq 200); do
			if answers "$port" || ! kill -0 "$server" 2>/dev/null; then break; fi
			sleep 0.1
		done
		if kill -0 "$server" 2>/dev/null && answers "$port"; then return; fi
		kill "$server" 2>/dev/null || true
		wait "$server" || true
		server=
	done
	echo "$1 does not start:" >&2
	cat "$dir/log" >&2
	exit 1
}

case $kind in
s3)
	"$go" build -C internal/tools -o "$PWD/bin/" github.com/versity/versitygw/cmd/versitygw
	export AWS_ACCESS_KEY_ID=pagetrail AWS_SECRET_ACCESS_KEY=for-tests-on-loopback
	mkdir -p "$dir/data/trails"
	start bin/versitygw --access "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" --port 127.0.0.1:PORT --quiet posix "$dir/data"
	export PAGETRAIL_TEST_STORE="s3://trails/test?region=us-east-1&path-style=true&endpoint=http://127.0.0.1:$port"
	;;
azure)
	if ! command -v npm >/dev/null; then
		echo "skipped: Azurite comes with npm"
		exit 0
	fi
	npm install --no-audit --no-fund --no-save --silent --prefix bin/_azurite azurite@3.35.0
	# The account that Azurite has, and its key, which is in Azurite's manual.
	export AZURE_STORAGE_KEY=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==
	start node bin/_azurite/node_modules/azurite/dist/src/blob/main.js --blobHost 127.0.0.1 --blobPort PORT \
		--location "$dir" --silent --skipApiVersionCheck --disableTelemetry
	export PAGETRAIL_TEST_STORE="azure://devstoreaccount1/trails/test?endpoint=http://127.0.0.1:$port/devstoreaccount1"
	;;
gcs)
	"$go" build -C internal/tools -o "$PWD/bin/" github.com/fsouza/fake-gcs-server
	start bin/fake-gcs-server -scheme http -host 127.0.0.1 -port PORT -backend memory -log-level error
	export PAGETRAIL_TEST_STORE="gs://trails/test?endpoint=http://127.0.0.1:$port"
	;;
*)
	echo "there is no service $kind" >&2
	exit 2
	;;
esac

"$go" test -count=1 -run 'TestService$' "$@" "./journal/objstore/$kind"
"$go" test -count=1 -run 'TestScripts/service$' "$@" ./internal/cli
