# Every target sets up .venv by itself: `make book` and `make test` are all one needs.
# No script is called by its own first line, which cannot name a folder with a space.

PY := .venv/bin/python
JUPYTER_BOOK := $(PY) .venv/bin/jupyter-book
PORT ?= 8000
COURSE ?= _build/course
NOTEBOOKS ?= $(wildcard book/*.ipynb book/*/*.ipynb)

export TQDM_DISABLE := 1
export OMP_NUM_THREADS := 1
# Files are UTF-8, whatever the machine's locale.
export PYTHONUTF8 := 1

# A file's tests run on one worker, in the order of conftest.py.
PYTEST := $(PY) -m pytest -n 2 --dist loadscope --no-loadscope-reorder --doctest-modules -rs

.PHONY: help environment book lint test quick test-models serve pdf browser-test pagespeed bench \
	exercises course outputs clean
.DEFAULT_GOAL := help

help:
	@echo "make book          build the book, executing its notebooks"
	@echo "make test          check the code, the notebooks and the exercises"
	@echo "make quick         check the code, in a minute"
	@echo "make test-models   check sampling on models of torchvision, timm and transformers"
	@echo "make serve         show the built book at http://127.0.0.1:$(PORT)"
	@echo "make pdf           print the whole book to _build/dropout.pdf"
	@echo "make browser-test  open every page in Chromium, and check it"
	@echo "make pagespeed     measure every page of the book on a simulated slow phone"
	@echo "make bench         time the layers, the samples and the enumeration"
	@echo "make exercises     write the students' copies of the exercises"
	@echo "make course        lay out an nbgrader course in $(COURSE)"
	@echo "make outputs       run the notebooks and store their text outputs"
	@echo "make clean         remove what was built"

# PYTHON reaches the script through the environment.
environment:
	@sh tools/environment.sh

book: environment
	$(JUPYTER_BOOK) build . -W --keep-going -n
	@echo "The book is built. Open $(CURDIR)/_build/html/index.html"

lint: environment
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

test: lint
	$(PYTEST) --nbval book lib tests

quick: lint
	$(PYTEST) -m "not slow" lib tests

# Beside the packages of .venv, which nobody but these tests is to find them among.
MODELS := .venv/models
$(MODELS)/.ready: requirements-models.txt | environment
	rm -rf $(MODELS)
	$(PY) -m pip install -qq --disable-pip-version-check --no-deps --target $(MODELS) -r $<
	@touch $@

test-models: $(MODELS)/.ready
	PYTHONPATH=$(MODELS) $(PYTEST) tests/models

serve: book
	$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

tools/%/node_modules: tools/%/package-lock.json
	cd $(@D) && npm ci --no-audit --no-fund --silent
	@touch $@

pdf: environment tools/browser/node_modules
	$(JUPYTER_BOOK) build . --builder singlehtml -W --keep-going -n
	node tools/browser/pdf.mjs _build/singlehtml _build/dropout.pdf

browser-test: book tools/browser/node_modules
	node tools/browser/check.mjs _build/html

pagespeed: book tools/browser/node_modules tools/pagespeed/node_modules
	node tools/pagespeed/pagespeed.mjs _build/html

bench: environment
	$(PY) tools/bench.py

exercises: environment
	$(PY) tools/exercises.py

course: environment
	$(PY) tools/course.py new "$(COURSE)"

outputs: environment
	$(PY) tools/notebooks.py $(NOTEBOOKS)

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
