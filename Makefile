# Every recipe a developer, a newcomer or continuous integration runs. Each is a script, or one command:
# what runs is what is printed here.

.DEFAULT_GOAL := help
.PHONY: help run test check test-node bench clean-testbed

TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## list the recipes
	@awk -F ': .*## ' '/^[a-z-]+: .*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## real pods on this machine, sampled and shown (root; DURATION=seconds ends it)
	@scripts/run

test: check test-node ## everything below but the benchmark

check: ## format, lints, tests without root, documentation, licences
	@scripts/check

test-node: ## the tests on real pods (root)
	@scripts/test-node

bench: ## what a sample costs, beside the cheapest way of reading the same files (root)
	@scripts/packages node
	cargo bench --locked --features node-tests --bench '*'

clean-testbed: ## take down what a killed run or test left (root)
	cargo build --locked -p podvitals-testbed --bin testbed
	$(TARGET)/debug/testbed down
