# Two targets for a newcomer: make demo, make test. Each sets up what it needs.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TORCH  := torch==2.13.0
# Small tensors: a second thread costs more than it brings, so the cores go to tests instead.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --jaxtyping-packages=unmask,beartype.beartype
STAMPS := $(VENV)/.stamps

.PHONY: demo test quick bench docs clean

demo: $(STAMPS)/app
	$(BIN)/unmask demo

test: $(STAMPS)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(PYTEST) -n auto --dist loadfile -m "not gpu and not long" --durations=15

quick: $(STAMPS)/dev
	$(PYTEST) -n auto --dist loadfile

bench: $(STAMPS)/dev
	$(BIN)/python benchmarks/values.py
	$(BIN)/python benchmarks/and_or.py
	$(BIN)/python benchmarks/integrated_gradients.py
	$(BIN)/python benchmarks/gradients.py
	$(BIN)/python benchmarks/lrp.py
	$(BIN)/python benchmarks/deeplift.py
	$(BIN)/python benchmarks/occlusion.py
	$(BIN)/python benchmarks/shapley.py
	$(BIN)/python benchmarks/activation_maps.py
	$(BIN)/python benchmarks/dependence.py
	$(BIN)/python benchmarks/generalizable.py
	$(BIN)/python benchmarks/monitor.py
	$(BIN)/python benchmarks/many_tables.py
	$(BIN)/python benchmarks/orders_and_coalitions.py
	$(BIN)/python benchmarks/llm_interactions.py
	$(BIN)/python benchmarks/on_gpu.py
	$(BIN)/python benchmarks/start.py

docs: $(STAMPS)/docs
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site dist

# Torch comes first and stays pinned, so that nothing that follows pulls another build.
$(STAMPS)/torch:
	$(PYTHON) -m venv $(VENV)
	mkdir -p $(STAMPS)
	echo "$(TORCH)" > $(STAMPS)/constraints.txt
	$(BIN)/pip install --quiet "$(TORCH)"
	touch $@

$(STAMPS)/app: $(STAMPS)/torch pyproject.toml
	$(BIN)/pip install --quiet -c $(STAMPS)/constraints.txt -e ".[app]"
	touch $@

$(STAMPS)/dev: $(STAMPS)/torch pyproject.toml tests/oracles.txt
	$(BIN)/pip install --quiet -c $(STAMPS)/constraints.txt -e ".[app,dev,oracle]"
	$(BIN)/pip install --quiet --no-deps -r tests/oracles.txt
	touch $@ $(STAMPS)/app

$(STAMPS)/docs: $(STAMPS)/torch pyproject.toml
	$(BIN)/pip install --quiet -c $(STAMPS)/constraints.txt -e ".[app,docs]"
	touch $@
