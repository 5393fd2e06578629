# Two commands for newcomers: `make demo` and `make test`. Each creates .venv if necessary.
PYTHON ?= python3
BIN := .venv/bin
export SCIPY_ARRAY_API := 1

.venv/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,lint]" build
	touch $@

.PHONY: demo test test-machines lint docs linkcheck bench gpu clean

demo: .venv/stamp
	$(BIN)/python -m sklinvariant tour

# one process of tests for each core, each with one thread
test: .venv/stamp lint .venv/wheel.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=logical --dist=worksteal $(PYTEST_ARGS)

# the tests with the settings of other processors and numbers of cores; `tox -e machines` also calls this
MACHINES := OMP_NUM_THREADS=1 OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2
test-machines: .venv/stamp
	@failed=; for machine in $(MACHINES); do \
		echo "with $$machine"; \
		env $$machine $(BIN)/python -m pytest $(PYTEST_ARGS) || failed="$$failed $$machine"; \
	done; \
	test -z "$$failed" || { echo "failed with$$failed"; exit 1; }

lint: .venv/stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# the wheel, installed into an environment with only its requirements
.venv/wheel.stamp: .venv/stamp README.md LICENSE $(shell find sklinvariant -name '*.py')
	rm -rf build dist .venv/wheel
	$(BIN)/python -m build --quiet --wheel --outdir dist
	$(PYTHON) -m venv .venv/wheel
	.venv/wheel/bin/python -m pip install --quiet -c constraints.txt dist/*.whl
	cd .venv/wheel && bin/python -c "import sklinvariant; sklinvariant.LearnedBoW(); sklinvariant.show_versions()"
	.venv/wheel/bin/sklinvariant --version
	touch $@

docs: .venv/stamp
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W -j auto -b html docs docs/_build/html

# whether the pages exist to which the documentation links; needs the network and `make docs`
linkcheck:
	$(BIN)/python -m sphinx -D plot_gallery=0 -b linkcheck docs docs/_build/linkcheck

# a small set of benchmarks, which takes a few minutes; see benchmarks/README.md
bench: .venv/stamp
	$(BIN)/python benchmarks/aggregation.py --quick --json benchmarks/latest
	$(BIN)/python benchmarks/training.py --rows 10000 --epochs 3 --json benchmarks/latest
	$(BIN)/python benchmarks/transforms.py --size 64 --batch 16 --repeats 3 --json benchmarks/latest
	$(BIN)/python benchmarks/group_convolutions.py --repeats 5 --json benchmarks/latest
	$(BIN)/python benchmarks/convolutional_features.py --images 16 --repeats 3 --json benchmarks/latest
	$(BIN)/python benchmarks/segmentation_loss.py --quick --json benchmarks/latest

# where a GPU is: the tests that use one, and the benchmarks; with the Python of the machine, which has torch and triton
GPU_PYTHON ?= python3
GPU_RESULTS ?= benchmarks/latest
gpu:
	@failed=; \
	PYTHONPATH=. $(GPU_PYTHON) -m pytest -p no:cacheprovider -q --continue-on-collection-errors tests -k "cuda or gpu" \
		$(PYTEST_ARGS) || failed=tests; \
	for part in ops train search; do \
		PYTHONPATH=. $(GPU_PYTHON) benchmarks/gpu.py --part $$part --json $(GPU_RESULTS) $(GPU_ARGS) \
			|| failed="$$failed $$part"; \
	done; \
	test -z "$$failed" || { echo "failed: $$failed"; exit 1; }

clean:
	rm -rf .venv build dist docs/_build docs/_generated docs/api docs/auto_examples
