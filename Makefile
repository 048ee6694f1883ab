# What CI runs is `make check`; nothing exists only there. Go is all that is needed: tools are built from modules of their
# own under .ci/tools and cached by Go. On a machine with a C compiler tests run under the race detector.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

tool      = go tool -modfile=.ci/tools/$(1)/go.mod
BUF       = $(call tool,buf) buf
LINT      = $(call tool,lint) golangci-lint
HELM      = $(call tool,helm) helm
RACE      = $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# The pattern ./... passes over dot entries.
GOPACKAGES = ./... ./.ci/reference
FUZZTIME ?= 10s
BENCH    ?= .

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Show what it is worth: an embedded upstream, the sidecar, a comparison (Ctrl-C ends)
	go run ./cmd/warmpool demo

.PHONY: test
test: ## Run all tests, under the race detector where there is a C compiler
	@$(if $(RACE),:,echo 'no C compiler: without the race detector' >&2)
	go test $(RACE) ./...
	@for p in nginx:nginx-light haproxy:haproxy apache2:apache2 node:nodejs npm:npm python3:python3 javac:default-jdk-headless; do \
		PATH=$$PATH:/usr/sbin:/sbin command -v $${p%%:*} >/dev/null || \
			echo "not run: end-to-end tests with $${p%%:*} (install the package $${p##*:})" >&2; \
	done

.PHONY: e2e
e2e: ## Drive the binary with nginx, HAProxy, Apache, go-httpbin and Node; fails when one is missing
	E2E_REQUIRE=1 go test $(RACE) -count=1 ./sidecar/e2e

.PHONY: check
check: ## Everything that must pass: tidy, generated code, lint, build, test, what deploy holds
	@for target in check-tidy check-generate lint build test check-deploy; do \
		begin=$$SECONDS; $(MAKE) --no-print-directory "$$target"; echo "-- $$target: $$((SECONDS - begin)) s"; \
	done

.PHONY: build
build: ## Compile everything; binaries go to bin/
	go build ./...
	@if [[ -d cmd ]]; then go build -o bin/ ./cmd/...; fi

.PHONY: lint
lint: ## Check Go (golangci-lint, gofumpt) and protos (buf; breaking changes against the last tag)
	$(LINT) run $(GOPACKAGES)
	$(BUF) lint
	$(BUF) format --diff --exit-code
	@tag=$$(git describe --tags --abbrev=0 2>/dev/null || true); \
	if [[ -n $$tag ]]; then echo "buf breaking --against $$tag"; $(BUF) breaking --against ".git#tag=$$tag"; fi

.PHONY: format
format: ## Format Go and protos
	$(LINT) fmt $(GOPACKAGES)
	$(BUF) format --write

.PHONY: generate
generate: ## Generate api/warmpool/v1 and the README's settings from proto
	$(BUF) generate --template .ci/buf.gen.yaml
	go run ./.ci/reference

.PHONY: check-generate
check-generate:
	@rm -rf .ci/out/generate
	$(BUF) generate --template .ci/buf.gen.yaml --output .ci/out/generate
	@diff -r .ci/out/generate/api/warmpool/v1 api/warmpool/v1 || \
		{ echo 'generated code is not what proto says: run make generate' >&2; exit 1; }
	go run ./.ci/reference -check
	@# The pattern ./... passes over dot entries.
	go test $(RACE) ./.ci/reference

.PHONY: check-tidy
check-tidy:
	go mod tidy -diff

.PHONY: check-deploy
check-deploy: ## Hold deploy's manifests, chart and image against what would read them; needs no cluster
	$(HELM) lint --strict deploy/helm/warmpool
	@# What is skipped, and how the image was run, is told; go test alone says "ok" to both. It would also take a result from
	@# its cache when warmpool has changed, which is another module than the one that tests.
	cd deploy/check && go vet . && go test -count=1 -v . | awk '!/^(=== | *--- PASS|PASS$$)/'

# With no builder named, the first that is installed.
BUILDER ?= $(firstword $(notdir $(wildcard $(foreach b,buildah podman docker,$(addsuffix /$(b),$(subst :, ,$(PATH)))))))
IMAGE   ?= warmpool:latest

.PHONY: image
image: ## Build the image IMAGE (warmpool:latest) with buildah, podman or docker: one static binary
	@[[ -n "$(BUILDER)" ]] || { echo 'no builder: install buildah, podman or docker, or name one with BUILDER=' >&2; exit 1; }
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o .ci/out/image/warmpool ./cmd/warmpool
	$(BUILDER) build $(if $(filter buildah,$(BUILDER)),--isolation chroot) -f deploy/Dockerfile -t $(IMAGE) .ci/out/image

.PHONY: conformance
conformance: ## Play HTTP/1.1 conformance cases through gRPC and report; CASES=FILE plays that file
	go test $(RACE) -v -count=1 ./sidecar -run '^TestConformance$$' $(if $(CASES),-args -cases=$(abspath $(CASES))) \
		| grep -vE '^ *(---|===) '

.PHONY: soak
soak: ## Play every fault at length: 200,000 requests, 100,000 POSTs to servers that close at the wrong moment, 1 GiB to a slow reader, 50 sidecars replaced and 50 killed under load
	go test $(RACE) -count=1 -v -timeout 60m ./pool/soak -args -requests=200000 -posts=100000
	go test -count=1 -v ./sidecar/e2e -run SlowReader -args -slow-mib=1024 -slow-rate=10
	go test $(RACE) -count=1 -v -timeout 30m ./sidecar/e2e -run 'RollingReplacement|KilledSidecar' -args -upgrades=50

# The servers are waited for: it costs next to no CPU.
IDLETIME ?= 10m

.PHONY: idle
idle: ## Send requests around the idle limits of nginx, Node, Apache and a fickle server for IDLETIME (10m)
	go test -count=1 -v -timeout 24h ./sidecar/e2e -run '^TestCallersWhoComeBackWhenTheServerClosesLoseNothing$$' -args -idle=$(IDLETIME)

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME (10s)
	@# What is of interest is not minimized: that would take all of so short a time.
	@go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | while read -r package; do \
		go test -list '^Fuzz' "$$package" | { grep '^Fuzz' || true; } | while read -r target; do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x "$$package" </dev/null; \
		done; \
	done

# Flags of the side-by-side run: make bench BENCHFLAGS='-json bench.json -profile .ci/out/profiles'
BENCHFLAGS ?=

.PHONY: bench
bench: ## Measure: codec, engine and client (BENCH selects), then warmpool beside HAProxy, against the targets (about 7 minutes)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./pool/... ./api/client
	go run ./cmd/warmpool-bench $(BENCHFLAGS)

.PHONY: pgo
pgo: ## Profile the sidecar under load and write the profile that builds of it use (about 2 minutes)
	rm -rf .ci/out/pgo
	go run ./cmd/warmpool-bench -rounds 12 -profile .ci/out/pgo >/dev/null \
		-run '^warmpool (Session(, pipelined)?|Send|Stream)/in-flight=(64/body=(128|16384)|4/body=1048576)$$'
	go tool pprof -proto .ci/out/pgo/*.pprof >cmd/warmpool/default.pgo

# Flags of the lab: make lab LABFLAGS=-quick for a smoke test in less than a minute.
LABFLAGS ?= -json .ci/out/lab.json -chart .ci/out/lab.svg

.PHONY: lab
lab: ## Measure on a link of 50 ms: new connections, net/http, HAProxy, nginx, warmpool (12 minutes; root, Linux)
	@mkdir -p .ci/out
	go build -o bin/ ./cmd/warmpool ./cmd/warmpool-lab
	@PATH=$$PATH:/usr/sbin:/sbin bin/warmpool-lab -warmpool bin/warmpool $(LABFLAGS)
