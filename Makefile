# Every recipe a developer, a newcomer or continuous integration runs. Each is a script, or one command:
# what runs is what is printed here.

.DEFAULT_GOAL := help
.PHONY: help run test check check-chart chart image image-check test-node test-hardship test-v2 test-leftovers test-churn soak test-cluster bench bench-series fuzz clean-testbed test-traffic test-rotation test-examples

TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## list the recipes
	@awk -F ': .*## ' '/^[a-z-]+: .*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## real pods on this machine, sampled and shown (root; DURATION=seconds ends it)
	@scripts/run

test: check test-node test-v2 ## what needs no cluster: the check, real pods, kernels of another kind

check: ## format, lints, tests without root, documentation, licences
	@scripts/check

check-chart: ## the chart in the hands of Helm: lint, renders, values that must be refused (Go, or helm)
	@scripts/check-chart

chart: ## write what is generated from the chart: its README, manifests/, the golden renders
	cargo xtask chart

image: ## the container image, as a tar file
	cargo xtask image

image-check: ## the image built twice, from nothing: fails unless the bytes are the same
	cargo xtask image --check

test-node: ## the tests on real pods (root)
	@scripts/test-node

test-hardship: ## pods that churn, runtimes that go and hang, a daemon short of everything, others' clients (root, Go)
	@PODVITALS_TEST_HARDSHIP=1 scripts/test-node

test-examples: ## examples/ in the hands of the programs they are for, on real pods (root)
	@scripts/test-examples

test-v2: ## the figures on cgroup v2, and on v1 as others mount it, in an emulated machine
	@scripts/test-v2

test-leftovers: ## a test that panics and a run that is killed leave nothing (root)
	@scripts/test-leftovers

test-churn: ## 2,000 real containers as fast as containerd goes, and no figure of another (root)
	@PODVITALS_CHURN=2000 scripts/test-node churn::

soak: ## pods come, are killed, restart and talk for SOAK_SECONDS (1800): nothing grows (root)
	@scripts/test-node soak::

test-cluster: ## the tests on a real Kubernetes cluster, which it builds first (root, Go)
	@scripts/test-cluster

test-traffic: ## ten quiet minutes on that cluster: what one node costs the API server (root, Go)
	@PODVITALS_TRAFFIC_SECONDS=600 scripts/test-cluster traffic

test-rotation: ## a token's whole life on that cluster, eleven minutes (root, Go)
	@PODVITALS_TOKEN_TO_THE_END=1 scripts/test-cluster token

fuzz: ## every parser on mutations of fuzz/corpus, FUZZ_SECONDS (60) each; FUZZ_SEED repeats a run
	cargo run --locked --profile fuzz --package podvitals-fuzz

bench: ## what a sample costs, beside the cheapest way of reading the same files (root)
	@scripts/packages node
	cargo bench --locked --no-fail-fast --features node-tests --bench '*'

bench-series: ## what a document of 100,000 series costs, beside a copy of it: fails if it is more than promised
	cargo bench --locked --features node-tests --bench series

clean-testbed: ## take down what a killed run or test left (root)
	cargo build --locked -p podvitals-testbed --bin testbed
	$(TARGET)/debug/testbed down
