# `make lab` and `make test` each work alone on a fresh machine; `make` alone lists all targets.
# Both put everything into .venv/ here, and nothing anywhere else.

# Any of these can be set on the command line: make lab PYTHON=python3.12
PYTHON ?= python3
WORKERS ?= 2
LAB_FLAGS ?=
# Of a grading: EXERCISE=04_building_the_initializer ROSTER=class.csv DEADLINE=2026-10-05T23:59+02:00
# OPENED=2026-10-05T22:00+02:00 COLUMN="Exercise 4 (31415)" QUESTIONS=qk-head,cut-diagonal
GRADE_FLAGS = $(if $(EXERCISE),--exercise "$(EXERCISE)") $(if $(ROSTER),--roster "$(ROSTER)") \
  $(if $(DEADLINE),--deadline "$(DEADLINE)") $(if $(OPENED),--opened "$(OPENED)") \
  $(if $(COLUMN),--column "$(COLUMN)") $(if $(QUESTIONS),--questions "$(QUESTIONS)")
# A folder shared/data beside the repository is used when there is one.
MINIVIT_DATA ?= $(abspath $(wildcard ../shared/data))

VENV := .venv
BIN := $(VENV)/bin
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope
NOTEBOOKS = $(wildcard lessons/*.ipynb solutions/*.ipynb)
START = $(firstword $(wildcard lessons/00_start_here.ipynb lessons/05_training_on_cifar10.ipynb) lessons)
# JupyterLab refuses to start as root, who is the only user of many containers.
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)

# A notebook runs in its own folder, so a relative path has to be made absolute here.
ifneq ($(strip $(MINIVIT_DATA)),)
ifeq ($(filter /% ~%,$(firstword $(MINIVIT_DATA))),)
override MINIVIT_DATA := $(CURDIR)/$(MINIVIT_DATA)
endif
export MINIVIT_DATA
else
# Tests download nothing: without data the notebooks run on generated images.
OFFLINE = MINIVIT_SOURCE=synthetic
endif

# A learners' copy has nothing for the other targets to work on.
LISTED = $(if $(wildcard teaching),[a-z-]+,help|lab|wheel|clean)

.PHONY: help lab test unit slow lint format bench claims lessons exercises matrix term grade regrade key exam gradescope slides pages student-release wheel colab atlas retarget picture clean
.NOTPARALLEL:

help:  ## list the targets (what `make` alone does)
	@awk -F ':.*## ' '/^($(LISTED)):.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

lab: $(VENV)/.lab  ## create .venv, install, open JupyterLab on the first lesson
	@# Without a root folder it would be that of the lesson, and hide the exercises.
	$(BIN)/python -m jupyterlab $(AS_ROOT) --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/$(START) \
	  $(LAB_FLAGS)

test: $(VENV)/.test  ## create .venv, install, run every check: style, unit tests, the rest, lessons
	@echo "== 1 of 4: style (ruff)"
	@$(MAKE) --no-print-directory lint
	@echo "== 2 of 4: unit tests, parity"
	@$(MAKE) --no-print-directory unit
	@echo "== 3 of 4: kill matrix, browsers, several processes"
	$(PYTEST) -m "integration and not slow"
	@echo "== 4 of 4: lessons and solutions, at the smallest scale"
	$(if $(NOTEBOOKS),MINIVIT_RUNS=$$(mktemp -d) $(OFFLINE) MINIVIT_SCALE=smoke $(PYTEST) \
	  --nbval-lax --nbval-current-env --nbval-cell-timeout=120 --nbval-kernel-startup-timeout=120 \
	  $(NOTEBOOKS),@echo "no notebooks yet")

unit: $(VENV)/.test  ## unit tests only: about a minute, to be run often
	$(PYTEST) -p no:nbval -m "not integration and not slow"

slow: $(VENV)/.test  ## attacks on the grader, kills, and all that takes minutes (SLOW=kill: by name)
	$(PYTEST) -m slow $(if $(SLOW),-k "$(SLOW)")

lint: $(VENV)/.test  ## check style only
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: $(VENV)/.test  ## repair style where ruff can
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: $(VENV)/.test  ## measure speed, write benchmarks/RESULTS.md (most of an hour; leave the machine alone)
	$(BIN)/python -m benchmarks.run --write

claims: $(VENV)/.test  ## make CLAIMS.md, FINDINGS.md and README's results from the records
	$(BIN)/python -m benchmarks.claims

lessons: $(VENV)/.test  ## run lessons and keep what they show (an hour; KEEP="--no-training lessons/07_is_it_real.ipynb")
	$(BIN)/python -m tools.keep $(KEEP)

exercises: $(VENV)/.test  ## make the learner's notebooks in exercises/ from solutions/
	$(BIN)/python -m teaching.exercises

matrix: $(VENV)/.test  ## test the graders with right and wrong answers; writes teaching/kill_matrix.md
	OMP_NUM_THREADS=1 $(BIN)/python -m teaching.kill_matrix --page teaching/kill_matrix.md

term: $(VENV)/.test  ## make the secret that this term's hidden cases are drawn from
	@$(BIN)/python -m teaching.term

grade: $(VENV)/.test  ## grade a class in a sandbox: make grade SUBMISSIONS=folder OUT=folder
	@$(BIN)/python -m teaching.grade "$(SUBMISSIONS)" "$(OUT)" $(GRADE_FLAGS)

regrade: $(VENV)/.test  ## the same again after a judge was mended; lists whose marks changed
	@$(BIN)/python -m teaching.grade "$(SUBMISSIONS)" "$(OUT)" --regrade $(GRADE_FLAGS)

key: $(VENV)/.test  ## the answer key with rubric and wrong answers to expect: dist/answer_key.md
	@$(BIN)/python -m teaching.answer_key

exam: $(VENV)/.test  ## the written exam without its answers, to print: dist/exam.html
	@$(BIN)/python -m teaching.exam_sheet

gradescope: $(VENV)/.test  ## the autograder's zip: make gradescope EXERCISE=04_building_the_initializer
	@$(BIN)/python -m teaching.gradescope bundle $(EXERCISE) $(if $(QUESTIONS),--questions "$(QUESTIONS)")

slides: $(VENV)/.test  ## slide decks that need no network, for three classes or for one lecture: dist/slides/
	@$(BIN)/python -m teaching.slides

pages: $(VENV)/.lab  ## the lessons as web pages that need no network: dist/pages/
	@$(BIN)/python -m tools.pages

student-release: $(VENV)/.test  ## a zip for learners: no solutions, no keys
	@$(BIN)/python -m teaching.student_release

wheel: $(VENV)/.lab  ## build dist/minivit-*.whl, to upload to Colab
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

colab: $(VENV)/.test  ## run the lessons alone on Colab's versions, without a network (needs a package index)
	$(BIN)/python -m tools.colab

atlas: $(VENV)/.test  ## measure real checkpoints again for lesson 02 (MINIVIT_DATA must have them)
	$(BIN)/python -m tools.atlas

retarget:  ## set the repository's address everywhere: make retarget REPO=https://github.com/ORG/NAME
	@$(PYTHON) tools/retarget.py "$(REPO)" $(TAG)

picture: $(VENV)/.test  ## draw README's pictures again: docs/
	$(BIN)/python -m tools.readme_picture

clean:  ## remove caches and built files; .venv and runs stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

# A stamp is made only after its step has succeeded, so an interrupted install is taken up again,
# and a finished one is repeated only when pyproject.toml changes.
$(VENV)/.lab: pyproject.toml $(VENV)/.made
	@echo "== installing into $(VENV) (PyTorch is large: the first time takes minutes)"
	$(BIN)/python -m pip install -e ".[lab]"
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.made
	@echo "== installing into $(VENV) (PyTorch is large: the first time takes minutes)"
	$(BIN)/python -m pip install -e ".[lab,test]"
	@touch $(VENV)/.lab $@

# The Python behind .venv may be gone, after an upgrade of the system: then begin again.
ifneq ($(shell $(BIN)/python -c "print('works')" 2>/dev/null),works)
CLEAR := --clear
.PHONY: $(VENV)/.made
endif

$(VENV)/.made:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name yours:" \
	    "make lab PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), and minivit needs Python 3.11 or newer." \
	    "If you have a newer one, name it: make lab PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  version=$$($(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
	  echo "This Python can't make virtual environments. On Debian and Ubuntu install the missing" \
	    "package: sudo apt-get install $$version-venv, and run make again."; exit 1; }
	$(PYTHON) -m venv $(CLEAR) $(VENV)
	@touch $@
