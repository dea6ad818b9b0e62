# `make help` lists the targets.
GO ?= go
SKIPS := $(CURDIR)/.skips

.PHONY: help build test race lint fuzz bench man clean

help: ## what each target does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/' | column -t -s '	'

build: ## the binary, in ./bin
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/plimsoll ./cmd/plimsoll

test: ## all tests; tests whose programs or data are missing are listed at the end
	@rm -f $(SKIPS)
	@PLIMSOLL_SKIPS=$(SKIPS) $(GO) test $(TESTFLAGS) ./...; status=$$?; \
	if [ -s $(SKIPS) ]; then echo; echo "NOT EVERYTHING WAS TESTED:"; sort -u $(SKIPS); fi; rm -f $(SKIPS); exit $$status

race: ## all tests under the race detector
	$(MAKE) test TESTFLAGS="-race $(TESTFLAGS)"

lint: ## go vet and golangci-lint
	$(GO) vet ./...
	$(GO) tool golangci-lint run

FUZZTIME ?= 1m
fuzz: ## every fuzz target for FUZZTIME (default 1m)
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
	  sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file" | while read -r target; do \
	    echo "== $$target $$(dirname $$file)"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)" || exit 1; \
	  done || exit 1; \
	done

COUNT ?= 5
bench: ## the figures of docs/performance.md, in benchstat's form
	$(GO) test -run '^$$' -bench . -benchtime 1x -count $(COUNT) -timeout 60m ./cmd/plimsoll | tee bench.txt
	$(GO) tool benchstat bench.txt

man: build ## the manual pages, in ./man
	./bin/plimsoll man man

clean: ## remove what the targets above made
	rm -rf bin man bench.txt $(SKIPS)
