# The front door. `make help` lists what it opens.
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
GEN := .venv-gen
FUZZ := .venv-fuzz
DOCS := .venv-docs
SECONDS ?= 60
# A podman of a run's own, which ends with it and leaves nothing.
ENGINE = PYTHONPATH=tests $(RUN) python -m support.podman
BIN := $(VENV)/bin
KILLS ?= 300
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
FUZZ_RUN = cd tests && ../$(FUZZ)/bin/python -m fuzz.run
# The thread sanitizer wants its addresses free, and a kernel may put a library there by chance.
FIXED := $(shell setarch -R true 2>/dev/null && echo setarch -R)

# The run of a failed chaos is had again with its seed.
SEED ?=

.PHONY: $(shell awk -F: '/^[a-z-]+:.*## / {print $$1}' $(MAKEFILE_LIST))
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## a .venv in the repository with everything

demo: setup ## the main job on a real model: stock and sharing processes side by side
	@$(RUN) python bench/demo.py

test: setup ## C and Python tests, under 20 minutes
	$(RUN) meson test -C build/cp* --print-errorlogs
	$(RUN) python -m pytest

test-containers: setup containers ## what runs in containers, with a real podman: as root
	$(ENGINE) python -m pytest tests/containers

demo-containers: setup containers ## VGG16 in containers of 256 MB, next to stock ones: as root
	$(ENGINE) sh -c 'deploy/containers/images && python deploy/containers/scene.py'

test-oldest: $(OLDEST)/.ready wheel ## the tests on the oldest TensorFlow served, from the built wheel
	$(OLDEST)/bin/pip install -q --force-reinstall --no-deps dist/*.whl
	cd tests && ../$(OLDEST)/bin/pytest -c ../pyproject.toml unit integration fault

test-all: test chaos lint asan tsan gen-check docs demo test-oldest test-containers test-systemd test-observability ## everything CI runs

test-observability: setup ## a real Prometheus scrapes a real daemon; rules and dashboard ask for what is there
	tools/system-packages
	$(RUN) python -m pytest tests/observability

test-systemd: setup wheel ## the service under a systemd of its own, installed from the wheel; wants root and podman
	tools/system-packages
	$(ENGINE) python -m pytest -s tests/systemd

chaos: setup ## kill clients and the daemon at random: KILLS=10000 SEED=7
	@cd tests && $(RUN) python -m chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED))

lint: setup ## ruff and mypy --strict
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: setup ## let ruff rewrite the Python
	$(RUN) ruff check --fix-only .
	$(RUN) ruff format .

bench: setup ## every published number, side by side, as a table and JSON
	@$(RUN) python bench/run.py

asan: setup ## C tests under address and undefined-behaviour sanitizers
	$(RUN) meson setup --reconfigure -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized build/asan
	$(RUN) meson test -C build/asan --print-errorlogs

tsan: setup ## C tests under the thread sanitizer
	$(RUN) meson setup --reconfigure -Db_sanitize=thread -Db_lundef=false -Dbuildtype=debugoptimized build/tsan
	$(RUN) TSAN_OPTIONS=report_thread_leaks=0 $(FIXED) meson test -C build/tsan --print-errorlogs  # a fork has no thread to join

valgrind: setup ## C tests under valgrind, which sees what was never written
	$(RUN) meson setup --reconfigure -Dbuildtype=debugoptimized build/valgrind
	$(RUN) meson test -C build/valgrind --no-suite unknown-to-valgrind -t 10 --print-errorlogs --wrapper "valgrind -q --fair-sched=yes --error-exitcode=9 --leak-check=full"

fuzz: fuzz-setup ## arbitrary bytes for all that reads others' bytes: SECONDS=60 for each of four targets
	$(FUZZ_RUN) --seconds $(SECONDS) $(TARGETS)

fuzz-planted: fuzz-setup ## the fuzzers find the faults that tests/fuzz/faults.py plants
	$(FUZZ_RUN) --planted $(TARGETS)

fuzz-replay: fuzz-setup ## what a finding does: TARGET=index FILE=build/fuzz/findings/index/crash-...
	$(FUZZ_RUN) --replay $(abspath $(FILE)) $(TARGET)

fuzz-shrink: fuzz-setup ## renew tests/fuzz/corpus with what fuzzing found since
	$(FUZZ_RUN) --shrink

gen: $(GEN)/.ready ## protobuf modules from proto/
	$(GEN)/bin/python -m grpc_tools.protoc -I proto --python_out=client --pyi_out=client --grpc_python_out=client proto/tetris/v1/tetris.proto proto/tetris/v1/admin.proto
	$(GEN)/bin/python -m grpc_tools.protoc -I proto --python_out=client --pyi_out=client proto/tetris/formats/bundle.proto

gen-check: gen ## the committed protobuf modules are what proto/ says
	git diff --exit-code --stat -- client

man: setup ## tetrisctl(1) from the table of commands
	$(RUN) python tools/manpage.py

docs: $(DOCS)/.ready ## the site, in build/docs; a broken link or an unknown name fails
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build  # its theme is kept until 2027, and says so every time

wheel: setup ## one abi3 wheel in dist/ for every glibc from 2.28 on
	rm -rf dist/*.whl build/wheel
	$(RUN) CC="$(CURDIR)/tools/cc-glibc2.28" pip wheel -q --no-build-isolation --no-deps -w build/wheel -Cbuild-dir=build/wheel .
	$(RUN) python -m wheel tags --python-tag cp310 --remove build/wheel/*.whl  # compiled for 3.10's limited API, whoever built it
	$(RUN) auditwheel repair --wheel-dir dist build/wheel/*.whl  # it looks at every symbol and says where the wheel may go

# What images are made of: a base, since there is no registry here, and wheels.
.PHONY: containers
containers: wheel
	tools/system-packages
	mkdir -p build/containers && tools/rootfs plain build/containers/base.tar
	PYTHON=$(BIN)/python PYTHON_VERSION=$$(tar tf build/containers/base.tar | sed -n 's,.*/usr/bin/python\(3\.[0-9]*\)$$,\1,p') deploy/containers/wheelhouse

.PHONY: fuzz-setup
fuzz-setup: $(FUZZ)/.ready
	PATH="$(CURDIR)/$(FUZZ)/bin:$$PATH" $(FUZZ)/bin/pip install -q --no-build-isolation --no-deps --force-reinstall -Cbuild-dir=build/fuzz/native .

clean: ## remove what was built
	rm -rf build dist $(VENV) $(OLDEST) $(GEN) $(FUZZ) $(DOCS)

$(VENV)/.ready: pyproject.toml
	tools/venv $(PYTHON) $(VENV)
	$(BIN)/pip install -q meson-python meson ninja "cffi>=2.1"
	$(RUN) pip install -q --no-build-isolation -e '.[tensorflow,daemon,dev]'
	touch $@

$(OLDEST)/.ready: pyproject.toml tests/oldest.txt $(VENV)/.ready
	tools/venv $(PYTHON) $(OLDEST)
	$(OLDEST)/bin/pip install -q -r tests/oldest.txt
	touch $@

# protoc 25 writes modules that every protobuf runtime from 4.25 on accepts.
$(GEN)/.ready:
	tools/venv $(PYTHON) $(GEN)
	$(GEN)/bin/pip install -q "grpcio-tools==1.62.3" setuptools
	touch $@

$(DOCS)/.ready: docs/requirements.txt
	tools/venv $(PYTHON) $(DOCS)
	$(DOCS)/bin/pip install -q -r docs/requirements.txt
	touch $@

# A C extension with libFuzzer inside: there are wheels for some Pythons and some machines only.
$(FUZZ)/.ready: pyproject.toml
	tools/venv $(PYTHON) $(FUZZ)
	$(FUZZ)/bin/pip install -q "atheris==3.0.0" || { echo "no atheris for $(PYTHON): name another with PYTHON=" >&2; exit 1; }
	$(FUZZ)/bin/pip install -q meson-python meson ninja "cffi>=2.1" setuptools
	PATH="$(CURDIR)/$(FUZZ)/bin:$$PATH" $(FUZZ)/bin/pip install -q --no-build-isolation -Cbuild-dir=build/fuzz/native '.[daemon]' "blake3>=1.0"
	touch $@
