# Everything a person does here, by name. All that is needed is Go: the tools are
# fetched in the versions that internal/tools/go.mod pins, and what wants more
# (a C compiler, sqlite3, python3, npm) says so and is skipped without it.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

GO ?= go
TOOL := $(GO) tool -modfile=internal/tools/go.mod
# The longest package takes two minutes by itself on two cores: go test's ten are few where much else runs.
TESTSUM := bin/testsum $(if $(COUNTS),-add $(COUNTS)) -timeout=20m

# Where goroutines meet: these are tested with the race detector as well.
RACE := ./journal/... ./apply/... ./vfs/... ./internal/capture/... ./internal/durable/... ./internal/cli/...
# Compiled for, besides this machine: other system calls, and integers of 32 bits.
PLATFORMS ?= darwin/arm64 windows/amd64 linux/arm

BENCH ?= .
COUNT ?= 1
FUZZTIME ?= 30s
SOAK ?= 600
CUTS ?= 9000
TEST ?= ./...

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## bin/pagetrail, the command line
	$(GO) build -trimpath -o bin/ ./cmd/pagetrail

.PHONY: demo
demo: ## a bad deploy and the way back, in under a minute
	@$(GO) run ./cmd/pagetrail demo

.PHONY: test
test: bin/testsum ## every test, then those with goroutines under the race detector (TEST=./journal for one package)
	$(TESTSUM) $(TEST)
ifeq ($(TEST),./...)
	@if [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v "$$($(GO) env CC)" >/dev/null; then \
		echo "$(TESTSUM) -race -short $(RACE)"; $(TESTSUM) -race -short $(RACE); \
	else echo "skipped: the race detector needs a C compiler"; fi
endif

.PHONY: test-real
test-real: bin/testsum ## real applications' databases through the VFS, judged by other people's SQLite
	$(TESTSUM) -count=1 -tags=real ./internal/realtest/...

.PHONY: test-s3
test-s3: ## the store's suite and a restore, against a real S3 service (versitygw) on loopback
	internal/tools/test-service.sh s3

.PHONY: test-azure
test-azure: ## likewise, against Azurite (from npm), which stands in for Azure Blob Storage
	internal/tools/test-service.sh azure

.PHONY: test-gcs
test-gcs: ## likewise, against fake-gcs-server, which stands in for Google Cloud Storage
	internal/tools/test-service.sh gcs

.PHONY: conformance
conformance: ## SQLite's and its driver's own suites with our VFS as the default
	internal/conformance/run.sh

.PHONY: check
check: ## what CI runs; leaves the tree as it was
	@before=$$(git status --porcelain); \
	$(MAKE) --no-print-directory lint cross test; \
	$(MAKE) --no-print-directory fuzz FUZZTIME=3s; \
	$(MAKE) --no-print-directory test-real conformance; \
	after=$$(git status --porcelain); \
	if [ "$$before" != "$$after" ]; then \
		echo "the checks changed the tree:"; diff <(echo "$$before") <(echo "$$after"); exit 1; \
	fi

.PHONY: fmt
fmt: ## format the Go files
	$(TOOL) gofumpt -w .

.PHONY: lint
lint: ## formatting, go.mod, vet, staticcheck, and the tools' own tests
	@bad=$$($(TOOL) gofumpt -l .); if [ -n "$$bad" ]; then echo "not formatted, run make fmt:"; echo "$$bad"; exit 1; fi
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) vet -tags=real ./...
	$(TOOL) staticcheck -tags=real ./...
	$(GO) vet -C internal/tools ./...
	$(GO) test -C internal/tools ./...

.PHONY: cross
cross: ## compile for other platforms (PLATFORMS), without optimising: SQLite is large
	@for p in $(PLATFORMS); do echo "build $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -gcflags='all=-N -l' ./...; done

.PHONY: fuzz
fuzz: ## every fuzz target, each for FUZZTIME (30s)
	internal/tools/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: ## what capture costs, as ratios in one run (BENCHFLAGS='-only insert'), then the Go benchmarks (BENCH=regexp COUNT=n)
	$(GO) run ./internal/bench $(BENCHFLAGS)
	$(GO) test -run='^$$' -bench='$(BENCH)' -benchmem -count=$(COUNT) -timeout=0 ./...

.PHONY: soak
soak: soak-follow ## CUTS power cuts (9000) for each of 12 modes, the followers' drills, then the random tests with fresh seeds for SOAK seconds (600)
	PAGETRAIL_CUTS=$(CUTS) PAGETRAIL_SEED=$$RANDOM$$RANDOM $(GO) test -count=1 -timeout=0 -run=TestPowerCuts -v ./internal/crashtest
	@end=$$(($$(date +%s) + $(SOAK))); n=0; while [ $$(date +%s) -lt $$end ]; do \
		$(GO) test -count=1 -timeout=0 -run='Model|Random|Crash|Kill|Power|Soak' ./...; n=$$((n + 1)); done; \
	echo "$$n rounds"

.PHONY: soak-follow
soak-follow: ## followers killed 500 times and more, 100 takeovers, 100,000 transactions under six readers
	PAGETRAIL_TEST_SOAK=20 PAGETRAIL_TEST_SEED=$$RANDOM$$RANDOM $(GO) test -count=1 -timeout=0 -run='TestKill|TestDrill' -v ./apply/follow ./apply/follow/takeover
	PAGETRAIL_TEST_SOAK=50 $(GO) test -count=1 -timeout=0 -run=TestReaders -v ./apply/follow

.PHONY: mutants
mutants: ## faults put into the engine on purpose, one at a time: the crash tests must see each (long)
	$(GO) test -count=1 -tags=mutants -run=TestMutants -timeout=120m -v ./internal/crashtest

.PHONY: cover
cover: ## test coverage, as bin/cover.html
	@mkdir -p bin
	$(GO) test -short -coverpkg=./... -coverprofile=bin/cover.out ./...
	$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	@$(GO) tool cover -func=bin/cover.out | tail -n 1

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist

bin/testsum: internal/tools/go.mod $(wildcard internal/tools/testsum/*.go)
	@$(GO) build -C internal/tools -o "$(CURDIR)/bin/" ./testsum
