#!/usr/bin/env bash
# The tests that want a running S3 service, against versitygw on loopback, with a directory that is removed afterwards.
# Its file system must have extended attributes, in which versitygw keeps ETags: with its --sidecar they are in files of
# their own, a read beside a write may get the content of one and the ETag of the other, and swaps get lost.
set -euo pipefail
cd "$(dirname "$0")/../.."
go=${GO:-go}

mkdir -p bin
"$go" build -C internal/tools -o "$PWD/bin/" github.com/versity/versitygw/cmd/versitygw

dir=$(mktemp -d)
server=
stop() {
	if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; fi
	rm -rf "$dir"
}
trap stop EXIT
mkdir -p "$dir/data/trails"

export AWS_ACCESS_KEY_ID=pagetrail AWS_SECRET_ACCESS_KEY=for-tests-on-loopback
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
for _ in 1 2 3 4 5; do # a port that is free now may not be in a moment
	port=$((20000 + RANDOM % 20000))
	if answers "$port"; then continue; fi
	bin/versitygw --access "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" --port "127.0.0.1:$port" --quiet \
		posix "$dir/data" >"$dir/log" 2>&1 &
	server=$!
	for _ in $(seq 100); do
		if answers "$port" || ! kill -0 "$server" 2>/dev/null; then break; fi
		sleep 0.1
	done
	if kill -0 "$server" 2>/dev/null && answers "$port"; then break; fi
	wait "$server" || true
	server=
done
if [ -z "$server" ]; then
	echo "versitygw does not start:" >&2
	cat "$dir/log" >&2
	exit 1
fi

export PAGETRAIL_TEST_STORE="s3://trails/test?region=us-east-1&path-style=true&endpoint=http://127.0.0.1:$port"
"$go" test -count=1 -run 'TestService$|TestScripts/service$' "$@" ./journal/objstore/s3 ./internal/cli
