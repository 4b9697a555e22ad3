# Two commands on a fresh machine: `make run` and `make test`. Needs python >= 3.11, g++, make and perl.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
BENCH  ?=

.PHONY: run test soak isa-coverage formal formal-mutants mutation coverage verification-table verify \
	operators bitstreams lint types check fuzz bench bench-record clean

run: $(VENV)/.installed
	$(BIN)/celosia demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q -o junit_family=xunit1 \
		--junitxml=build/verification/tests.xml

# What takes too long for every change: all golden samples of the largest networks on the RTL, random programs
# on random fabrics against the emulator (CELOSIA_SOAK_SECONDS, half an hour unless said otherwise).
soak: $(VENV)/.installed-test
	CELOSIA_SOAK=1 $(BIN)/python -m pytest tests/end_to_end -n $(JOBS) -q
	CELOSIA_SOAK=1 $(BIN)/python -m pytest tests/lockstep -q -s

isa-coverage: $(VENV)/.installed-test
	$(BIN)/python tests/support/soak.py --seconds 600

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .

# mypy does not follow pyproject's folder mapping: give it the package as it is once installed.
types: $(VENV)/.installed-test
	rm -rf build/types && mkdir -p build/types/celosia
	ln -s $(CURDIR)/celosia/* $(addprefix $(CURDIR)/,rtl host sim boards) build/types/celosia/
	MYPYPATH=build/types $(abspath $(BIN))/mypy --config-file pyproject.toml -p celosia

check: lint types test

# Properties of the gateware, each proved or checked to a bound; and a broken design for each that must fail it.
formal: $(VENV)/.installed-test
	$(BIN)/python tests/formal/run.py --jobs $(JOBS)

formal-mutants: $(VENV)/.installed-test
	$(BIN)/python tests/formal/run.py --mutants --jobs $(JOBS)

# Breaks the gateware in many places and says which tests notice; goes on where it was interrupted.
mutation: $(VENV)/.installed-test
	$(BIN)/python tests/mutation/run.py --count 120 --jobs $(JOBS)

coverage: $(VENV)/.installed-test
	$(BIN)/python tests/coverage_report/run.py

# The table of docs/verification.md, from the results of the targets above.
verification-table: $(VENV)/.installed-test
	$(BIN)/python tests/verification.py --record

# Everything that checks the gateware: hours.
verify: test formal formal-mutants isa-coverage soak mutation coverage
	CELOSIA_SOAK=1 $(BIN)/python -m pytest tests/cosim tests/golden tests/boards -n $(JOBS) -q
	$(BIN)/python tests/verification.py --record

# docs/operators.md: every operator of TFLite and ONNX with its place.
operators: $(VENV)/.installed-test
	$(BIN)/python docs/operators.py

# Bitstreams of all boards: an hour, most of it placing and routing the ULX3S.
bitstreams: $(VENV)/.installed-test
	for board in icebreaker ulx3s_85f; do $(BIN)/celosia build $$board --out build/bitstreams || exit 1; done

fuzz: $(VENV)/.installed-test
	$(BIN)/python tests/fuzz/fuzz_importer.py --count 2000
	$(BIN)/python tests/fuzz/fuzz_onnx.py --count 2000
	$(BIN)/python tests/fuzz/fuzz_nnef.py --count 2000

# The gate itself is a test (tests/bench); these show the figures, and record those of a release.
bench: $(VENV)/.installed
	$(BIN)/celosia bench $(BENCH)

bench-record: $(VENV)/.installed
	$(BIN)/celosia bench $(BENCH) --fabric sim16x16 --fabric sim8x8 --layers 0 \
		--record bench/$$($(BIN)/python -c "import celosia; print(celosia.__version__)").json

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
