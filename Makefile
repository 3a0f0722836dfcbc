# What the README names. Everything is built by meson in build/.
BUILD ?= build
PEER  := $(BUILD)/peer-3.8.8
PREFIX ?= /usr/local

.PHONY: all build deps test test-asan test-tsan fuzz bench tutorial install clean format

all: build

deps:
	@tools/deps.sh

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja:
	@tools/deps.sh build
	@meson setup $(BUILD) >/dev/null

test: deps
	@tests/run.sh $(BUILD)

# The unit tests again under AddressSanitizer and UBSan.
test-asan: deps
	@[ -d build-asan ] || meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-asan --quiet && meson test -C build-asan --suite unit --suite fuzz --no-rebuild -q

# The unit tests, and a server under the API's tests, with ThreadSanitizer.
test-tsan: deps build
	@tools/peer.sh $(PEER) 3.8.8
	@tests/tsan.sh build-tsan $(PEER) tests/api/test_kill.py tests/api/test_sockets.py tests/api/test_runs.py tests/api/test_events.py \
	  tests/api/test_scheduler.py tests/api/test_concurrency.py tests/api/test_automations.py tests/api/test_logs.py

# Looks for inputs that break something: SECONDS on each target, or on TARGETS alone. What is found is in build-fuzz/found; it joins tests/fuzz/corpus.
fuzz: deps
	@tests/fuzz/run.sh build-fuzz $(or $(SECONDS),60) $(TARGETS)

bench: deps build
	@tools/peer.sh $(PEER) 3.8.8
	@bench/run.py --build $(BUILD) --peer $(PEER) $(BENCH_ARGS)

tutorial: deps build
	@tools/peer.sh $(PEER) 3.8.8
	@examples/tutorial.sh $(BUILD) $(PEER) $(KEEP)

install: build
	install -Dm755 $(BUILD)/millpond $(DESTDIR)$(PREFIX)/bin/millpond
	$(BUILD)/millpond man --to $(DESTDIR)$(PREFIX)/share/man/man1
	mkdir -p $(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	$(BUILD)/millpond completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/millpond
	$(BUILD)/millpond completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_millpond
	$(BUILD)/millpond completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/millpond.fish

format:
	@clang-format -i $$(git ls-files '*.c' '*.h' ':!src/model/filters.c')

clean:
	rm -rf build build-asan build-fuzz build-tsan
