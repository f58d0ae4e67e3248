# Two commands do everything: `make demo` and `make test`. Both create the environment when it is not there.

VENV := .venv
BIN := $(VENV)/bin
# A GPU gets the CUDA build that fits it, other machines the CPU build. Where PIP_FIND_LINKS names a folder of wheels,
# the CPU build of constraints-cpu.txt is taken from there.
ifdef PIP_FIND_LINKS
TORCH := --constraint constraints-cpu.txt --find-links "$(PIP_FIND_LINKS)"
else
TORCH := --torch-backend=auto
endif

.PHONY: demo test test-browser test-faults test-cluster soak soak-cluster install check bench

demo: install
	$(BIN)/clibd-sweep batch-size --demo

test: install check
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --no-loadscope-reorder

# The dashboard as readers see it, in Chromium, which is Debian's or stands in CLIBD_CHROMIUM; two minutes on two quiet cores.
test-browser: install
	$(BIN)/python -m pytest tests/browser --numprocesses 2 --no-loadscope-reorder

# Several nodes of Ray, a bucket, and faults: some minutes on two quiet cores.
test-cluster: install
	$(BIN)/python -m pytest tests/cluster -m "not soak" --numprocesses 2 --no-loadscope-reorder

# Faults and crafted inputs by seed, counted: `make test-faults SEED=17` draws others.
test-faults: install
	FAULTS=120 INPUTS=15000 $(BIN)/python -m pytest tests/faults --numprocesses 2 --no-loadscope-reorder

# The same with new seeds, which are printed, for an hour or as long as told: `make soak MINUTES=10`, whole minutes. Of
# less than ten no number of faults is promised, as what they are made with takes one or two.
MINUTES := 60
soak: install
	MINUTES=$(MINUTES) FAULTS=$$(($(MINUTES) < 10 ? 0 : 2 * $(MINUTES))) INPUTS=$$(($(MINUTES) < 10 ? 0 : 250 * $(MINUTES))) \
		$(BIN)/python -m pytest tests/faults --numprocesses 2

# 200 kills on one cluster, and machines that come late: as long as that takes, half an hour on two quiet cores.
soak-cluster: install
	$(BIN)/python -m pytest tests/cluster -m soak

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

BENCHMARKS := tokeniser input_pipeline feeding partition reading preparation contrastive_loss gradient_cache training_step ray_train orchestration recovery \
	evaluation intervals threshold_search bzsl spine dashboard

bench: install
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints-cpu.txt
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "uv>=0.8"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(TORCH) --editable ".[dev]"
	@touch $@
