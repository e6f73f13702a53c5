# Every target sets up .venv by itself: `make book` and `make test` are all one needs.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PORT ?= 8000
COURSE ?= _build/course
NOTEBOOKS ?= $(wildcard book/*.ipynb book/*/*.ipynb)

export TQDM_DISABLE := 1
export OMP_NUM_THREADS := 1

.PHONY: help book test serve pdf browser-test bench exercises course outputs clean
.DEFAULT_GOAL := help

help:
	@echo "make book          build the book, executing its notebooks"
	@echo "make test          check the code, the notebooks and the exercises"
	@echo "make serve         show the built book at http://127.0.0.1:$(PORT)"
	@echo "make pdf           print the whole book to _build/dropout.pdf"
	@echo "make browser-test  open every page in Chromium, and check it"
	@echo "make bench         time the layers, the samples and the enumeration"
	@echo "make exercises     write the students' copies of the exercises"
	@echo "make course        lay out an nbgrader course in $(COURSE)"
	@echo "make outputs       run the notebooks and store their text outputs"
	@echo "make clean         remove what was built"

$(READY): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "Python 3.11 is needed: '$(PYTHON)' is not one. Set it with: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

book: $(READY)
	$(BIN)/jupyter-book build . -W --keep-going -n
	@echo "The book is built. Open $(CURDIR)/_build/html/index.html"

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest -n 2 --dist loadscope --nbval --doctest-modules book lib tests

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

tools/browser/node_modules: tools/browser/package-lock.json
	cd tools/browser && npm ci --no-audit --no-fund --silent
	@touch $@

pdf: $(READY) tools/browser/node_modules
	$(BIN)/jupyter-book build . --builder singlehtml -W --keep-going -n
	node tools/browser/pdf.mjs _build/singlehtml _build/dropout.pdf

browser-test: book tools/browser/node_modules
	node tools/browser/check.mjs _build/html

bench: $(READY)
	$(BIN)/python tools/bench.py

exercises: $(READY)
	$(BIN)/python tools/exercises.py

course: $(READY)
	$(BIN)/python tools/course.py $(COURSE)

outputs: $(READY)
	$(BIN)/python tools/notebooks.py $(NOTEBOOKS)

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
