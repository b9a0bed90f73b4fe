# Two commands do everything on a machine with Python 3.11 and nothing else: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo
ORT := 1.30.0
VENDOR := src/amortized/explore/vendor/onnxruntime-web

.PHONY: demo test test-slow browser lint docs bench vendor clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "amortized needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,tables,hub,plots,explore,export,trackers]'
	touch $@

demo: .venv/installed  ## fit digits, print the evidence, write a report, samples and reconstructions
	rm -rf $(RUN)
	$(BIN)/amortized fit digits --out $(RUN)
	$(BIN)/amortized evaluate $(RUN)
	$(BIN)/amortized report $(RUN)
	$(BIN)/amortized sample $(RUN) -n 64 --mean --out $(RUN)/samples.png
	$(BIN)/amortized reconstruct $(RUN) -n 32 --out $(RUN)/reconstructions.png

# Two workers of one thread each: the tests' matrices are small, and oversubscribed threads are slower than none.
test: .venv/installed  ## the tests that every change must pass
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-slow: .venv/installed  ## the few that take long
	$(BIN)/python -m pytest -m slow

browser:  ## Debian's chromium, which the tests of pages drive; they are skipped without it
	command -v chromium >/dev/null || ( apt-get update -qq && apt-get install --yes -qq chromium >/dev/null ) || echo "No chromium: the tests of pages will be skipped."

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/installed  ## the page of what works with what, from the list in the source
	$(BIN)/python -m amortized.recipes.compatibility > docs/compatibility.md

bench: .venv/installed  ## speed beside Pythae, scvi-tools, JAX and plain PyTorch, with what is wanted
	$(BIN)/python benchmarks/bench.py

vendor:  ## the runtime of exported pages, from npm; its checksums stand in the folder's README
	rm -rf .vendor && mkdir .vendor
	cd .vendor && npm pack --silent onnxruntime-web@$(ORT) && tar xzf onnxruntime-web-$(ORT).tgz
	sed '/^\/\/# sourceMappingURL=/d' .vendor/package/dist/ort.wasm.bundle.min.mjs > $(VENDOR)/ort.wasm.bundle.min.mjs
	gzip -9 --no-name --stdout .vendor/package/dist/ort-wasm-simd-threaded.wasm > $(VENDOR)/ort-wasm-simd-threaded.wasm.gz
	rm -rf .vendor

clean:
	rm -rf .venv runs benchmarks/.rivals .vendor
