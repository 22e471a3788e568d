# SPDX-License-Identifier: MIT
# A thin door to Meson: `make run` shows the library at work, `make test` checks it. Both install what is missing first.

BUILD ?= build/release
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
MESON ?= meson
NINJA ?= ninja

# Which suites a sanitizer can say something about (the race lab has its own instrumentation and is never built with another's);
# another compiler is asked for warnings and the basics.
CODE_SUITES = --no-suite style --no-suite mutants --no-suite model --no-suite lab
BASIC_SUITES = --suite unit --suite protocol --suite cli

.PHONY: all setup run test asan tsan clang aarch64 lint bench lab lab-full soak format install clean

all: $(BUILD)/build.ninja
	@$(NINJA) -C $(BUILD) -j $(JOBS) --quiet

setup:
	@scripts/setup.sh build

$(BUILD)/build.ninja: | setup
	@mkdir -p $(BUILD)
	@$(MESON) setup $(BUILD) --prefix $(PREFIX) --libdir lib -Dtests=false >$(BUILD).log || { cat $(BUILD).log; exit 1; }

# A sound run and a sabotaged one over real files (FILE="a b c" to choose them).
run: all
	@UHMM=$(BUILD)/tools/uhmm scripts/run.sh $(FILE)

test:
	@scripts/setup.sh build test
	@scripts/test.sh build/test

asan:
	@scripts/setup.sh build test
	@scripts/test.sh build/asan -Db_sanitize=address,undefined -Db_lundef=false -- $(CODE_SUITES)

tsan:
	@scripts/setup.sh build test
	@scripts/test.sh build/tsan -Db_sanitize=thread -Db_lundef=false -- $(CODE_SUITES)

clang:
	@scripts/setup.sh build test clang
	@CC=clang scripts/test.sh build/clang -- $(BASIC_SUITES)

# The whole tree for aarch64; what an emulator can run of the tests is run.
aarch64:
	@scripts/setup.sh build extras
	@scripts/aarch64.sh build/aarch64

lint:
	@scripts/setup.sh build test lint
	@scripts/lint.sh

bench: all
	@$(BUILD)/tools/uhmm bench

# The race lab: the part of its table that every change has to pass; and hours of larger bounds, which go on where they were
# stopped (LAB_SECONDS=600 to stop by themselves).
lab: all
	@$(BUILD)/tools/uhmm races --ci

lab-full: all
	@$(BUILD)/tools/uhmm races --full --state build/lab --seconds $(or $(LAB_SECONDS),0)

# Ten minutes of random everything, plain and under each sanitizer in turn.
soak:
	@scripts/setup.sh build test
	@scripts/soak.sh

format:
	@scripts/setup.sh lint
	@git ls-files '*.[ch]' | xargs clang-format -i

install: all
	@$(MESON) configure $(BUILD) --prefix $(PREFIX)
	@$(MESON) install -C $(BUILD) --quiet $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

clean:
	@rm -rf build
