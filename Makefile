# make train, make test, make bench, make docs: each sets up .venv first if it is missing, or pyproject.toml or
# setup.py has changed.
#
#   EXTRA   MLX's backend: cpu, cuda12 or cuda13 on Linux (default cpu); empty on macOS, where MLX includes Metal
#   VENV    the environment's folder (default .venv)
#   PYTHON  the Python to make it with (default: the first suitable one on the PATH)
#   RUN     the run of `make train` and `make nowcast-weights` (default runs/quickstart)
#   ARGS    more overrides for train.py, such as ARGS='data.root=~/mnist'; options of `make bench`, such as
#           ARGS='--rows default --runs 9 --out bench.json', or of `make faults`, such as ARGS='kill=100 --seed 3'

VENV ?= .venv
EXTRA ?= $(if $(filter Linux,$(shell uname -s)),cpu)
PYTHON ?=
ARGS ?=

# mlx-data has wheels for Python 3.10 to 3.13.
SUITABLE := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))

CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10)
FETCH_PIP := import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen("https://bootstrap.pypa.io/get-pip.py").read())

RUN := runs/quickstart
# A process for each core and one more, since tests wait now and then; four at most. A file stays in one process, since its
# tests share runs. Files in alphabetical order.
CORES := $(or $(shell nproc 2>/dev/null),$(shell sysctl -n hw.ncpu 2>/dev/null),1)
PARALLEL := -n $(shell expr $(CORES) + 1) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
PY := $(VENV)/bin/python
# Python compiles the modules that are imported, when they first are; pip would compile all of them, one by one.
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --no-compile
comma := ,
RUN_READY := $(VENV)/.ready-$(or $(EXTRA),macos)
TEST_READY := $(RUN_READY)-dev
BENCH_READY := $(RUN_READY)-bench
DOCS_READY := $(RUN_READY)-docs
# The distribution that EXTRA installs: mlx_cpu, mlx_cuda_12 or mlx_cuda_13.
BACKEND := mlx_$(subst cuda,cuda_,$(EXTRA))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup train test bench docs faults doctor nowcast-weights clean check-extra

help: ## print this
	@echo 'make TARGET [EXTRA=cpu|cuda12|cuda13]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1 \2/p' $(MAKEFILE_LIST) | while read -r name text; do \
		printf '  %-15s %s\n' "$$name" "$$text"; done

setup: $(RUN_READY) ## make .venv with everything this platform needs

train: $(RUN_READY) ## set up, train the quickstart, evaluate it and list its pictures; a second call resumes
	$(PY) train.py experiment=quickstart name=$(notdir $(RUN)) resume=auto $(ARGS)
	$(PY) evaluate.py ckpt=$(RUN)
	@echo; echo 'Pictures:'; find $(RUN)/evaluation -name '*.png' -o -name '*.gif' | sort | sed 's/^/  /'

# The types are checked beside the tests, which wait now and then; their report comes last.
test: $(TEST_READY) ## set up, then lint, types and tests
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	@echo '$(PY) -m mypy & $(PY) -m pytest $(PARALLEL)'
	@$(PY) -m mypy > $(VENV)/.mypy.log 2>&1 & mypy=$$!; trap 'kill $$mypy 2>/dev/null' EXIT INT TERM; \
	$(PY) -m pytest $(PARALLEL); tests=$$?; \
	wait $$mypy; types=$$?; echo mypy:; cat $(VENV)/.mypy.log; [ $$tests = 0 ] && [ $$types = 0 ]

bench: $(BENCH_READY) ## set up, then time training and forecasting beside PyTorch on this CPU
	$(PY) -m benchmarks $(ARGS)

docs: $(DOCS_READY) ## set up, then run the tutorials and build the documentation into site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build
	@echo 'To read it: $(PY) -m http.server -d site, then http://localhost:8000'

faults: $(TEST_READY) ## set up, then test runs, readers and watchers under faults; fails if anything is lost
	$(PY) -m fault_tests $(ARGS)

doctor: $(RUN_READY) ## print which device and BLAS MLX uses here, and how fast they are
	$(PY) -m convlstm.doctor

nowcast-weights: $(RUN_READY) ## make the averaged weights of RUN=runs/NAME those of ckpt=nowcast
	$(PY) -m convlstm.checkpoints.packaging $(RUN)

clean: ## remove .venv, the built kernels and the caches; runs/ stays
	rm -rf $(VENV) build site convlstm.egg-info convlstm/ops/cpu/built .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_READY): pyproject.toml setup.py $(VENV)/.pip | check-extra
	@echo "Installing convlstm$(if $(EXTRA),[$(EXTRA)]) into $(VENV) and building its kernels: a few minutes on a slow line"
	@$(PIP) -e '.$(if $(EXTRA),[$(EXTRA)])'
	@touch $@

# In one go, which is quicker than the package first.
$(TEST_READY): pyproject.toml setup.py $(VENV)/.pip | check-extra
	@echo "Installing convlstm with the test and lint tools into $(VENV) and building its kernels: a few minutes on a slow line"
	@$(PIP) -e '.[$(if $(EXTRA),$(EXTRA)$(comma))dev]'
	@touch $(RUN_READY) $@

$(BENCH_READY): $(RUN_READY)
	@echo "Installing PyTorch into $(VENV)"
	@$(PIP) -e '.[$(if $(EXTRA),$(EXTRA)$(comma))bench]'
	@touch $@

$(DOCS_READY): $(RUN_READY)
	@echo "Installing MkDocs and its plugins into $(VENV)"
	@$(PIP) -e '.[$(if $(EXTRA),$(EXTRA)$(comma))docs]'
	@touch $@

# Two backends in one environment overwrite each other's libmlx.so.
check-extra:
	@case '$(EXTRA)' in ''|cpu|cuda12|cuda13) ;; *) \
		echo "make: EXTRA must be cpu, cuda12 or cuda13 but got '$(EXTRA)'." >&2; exit 1;; esac
	@if [ -n '$(EXTRA)' ]; then for found in $(VENV)/lib/python*/site-packages/mlx_c[pu]*-*.dist-info; do \
		case "$$found" in *'*'*|*/$(BACKEND)-*) ;; *) \
			echo "make: $(VENV) holds the backend $$(basename "$$found" .dist-info), and EXTRA=$(EXTRA) needs another." >&2; \
			echo "      Run 'make clean' first, or keep both: make ... EXTRA=$(EXTRA) VENV=.venv-$(EXTRA)" >&2; \
			exit 1;; esac; done; fi

# An environment with a working pip. The user's own environment is kept. Without the package python3-venv, Debian's
# Python has no ensurepip; then the system's pip fills the environment, or a downloaded one.
$(VENV)/.pip: | check-extra
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
		python=; \
		for candidate in $(CANDIDATES); do \
			"$$candidate" -c '$(SUITABLE)' 2>/dev/null && { python="$$candidate"; break; }; \
		done; \
		if [ -z "$$python" ]; then \
			echo "make: no Python 3.10 to 3.13 (mlx-data has wheels for these) among $(CANDIDATES)." >&2; \
			echo "      Install one, or name it: make ... PYTHON=/path/to/python3" >&2; exit 1; fi; \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		if "$$python" -c 'import ensurepip' 2>/dev/null; then "$$python" -m venv $(VENV); \
		elif "$$python" -m venv --without-pip $(VENV) && "$$python" -m pip --python $(PY) install -q pip 2>/dev/null; then :; \
		else echo "$$python has neither ensurepip nor pip: fetching pip from bootstrap.pypa.io"; \
			"$$python" -c '$(FETCH_PIP)' \
				> $(VENV)/get-pip.py 2>/dev/null && $(PY) $(VENV)/get-pip.py -q || { \
			echo "make: could not put pip into $(VENV). Install venv (Debian, Ubuntu: sudo apt install python3-venv)" >&2; \
			echo "      and run make again." >&2; exit 1; }; fi; \
	fi
	@touch $@
