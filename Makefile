# SPDX-License-Identifier: MIT
#
# libuffdstm. `make help` lists the targets; everything is built below build/. What is built from what
# stands in the Kbuild files; tests are listed in selftests/Kbuild.
#
# VARIANT names a way to build: words joined by "-", e.g. schedule, asan, clang-schedule
# (see "variants" below). "default" goes to build/ itself, any other to build/VARIANT/.

MAKEFLAGS += -rR --no-print-directory -j$(shell nproc)
.DELETE_ON_ERROR:
.SUFFIXES:
unexport TESTS

prefix ?= /usr/local
bindir ?= $(prefix)/bin
libdir ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
datadir ?= $(prefix)/share
pkgconfigdir ?= $(libdir)/pkgconfig
DESTDIR ?=

ifneq ($(filter default undefined,$(origin CC)),) # undefined: a make below a make, since -R is handed on
CC := gcc
endif
VARIANT ?= default
INSTALL ?= install

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s%s\n' $(1) '$(2)'
endif

include Kbuild lib/Kbuild uffd/Kbuild tools/uffdstm/Kbuild tools/samples/Kbuild tools/bench/Kbuild

HEADER := lib/include/uffdstm.h
# those that declare functions of their own
COLLECTIONS := $(addprefix lib/include/uffdstm/,counter.h map.h vector.h blob.h)
COLLECTIONS += $(addprefix lib/include/uffdstm/,fifo.h ordered.h)
MAP := lib/uffdstm.map
version_part = $(shell sed -n 's/^\#define STM_VERSION_$(1) *\([0-9]*\).*/\1/p' $(HEADER))
MAJOR := $(call version_part,MAJOR)
VERSION := $(MAJOR).$(call version_part,MINOR)

# ---- flags ----

USER_CFLAGS := $(STM_USER_CFLAGS)
CFLAGS ?= -O2 -g
BASE_CFLAGS := $(STM_BASE_CFLAGS) -Ilib/include
LIB_CFLAGS := $(STM_LIB_CFLAGS) -Ilib -Iuffd
# nodelete: the SIGBUS handler and thread exit hooks must outlive a dlclose().
LIB_LDFLAGS := -Wl,-z,defs,-z,relro,-z,now,-z,nodelete -pthread
LIB_LDLIBS := $(STM_LIB_LDLIBS)

# ---- variants ----

variant_default :=
variant_schedule := -DSTM_SCHEDULE
variant_small := -DSTM_SMALL_LAYOUT
variant_debug := -DSTM_DEBUG
variant_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
variant_clang :=
variant_static := -static
variant_noevents := -DSTM_WITHOUT_EVENTS
variant_counting := -DSTM_COUNTING
# every mistake of lib/testing.h; UFFDSTM_MUTANT=number chooses one
variant_mutants := $(variant_schedule) -DSTM_MUTANTS

parts = $(subst -, ,$(1))
WORDS := default schedule small debug asan clang static noevents counting mutants
unknown = $(filter-out $(WORDS),$(call parts,$(1)))
flags_of = $(strip $(foreach w,$(call parts,$(1)),$(variant_$(w))))
compiler_of = $(if $(filter clang asan,$(call parts,$(1))),clang,$(CC))
dir_of = $(if $(filter-out default,$(1)),build/$(1),build)
# White-box tests steer threads through schedule points, so they need a variant that has these.
white_of = $(if $(filter schedule mutants,$(call parts,$(1))),$(1),$(if $(filter default,$(1)),schedule,$(1)-schedule))

WHITE := $(call white_of,$(VARIANT))
variants := $(sort default small $(VARIANT) $(WHITE) $(if $(filter bench bench-scale,$(MAKECMDGOALS)),counting) \
	$(foreach g,$(MAKECMDGOALS),$(filter-out lib uffd tools selftests kselftest bench $(notdir $(g)), \
		$(word 2,$(if $(filter build/%,$(g)),$(subst /, ,$(g)))))))

# program(variant directory, source directory, name)
define program
$(1)/$(2)/$(3): $$(addprefix $(1)/$(2)/,$$(or $$($(3)-objs),$(3).o)) $(1)/$$(or $$($(3)-library),libuffdstm.a)
	$$(call say,LD,$$@)
	$$(Q)$$($(1)-cc) $$($(1)-flags) -o $$@ $$^ $(LIB_LDLIBS) $$($(3)-userldlibs) -pthread
endef

# variant(name, directory)
define variant
$(if $(call unknown,$(1)),$(error VARIANT=$(1): no variant '$(call unknown,$(1))'; there are $(WORDS)))
$(2)-cc := $(call compiler_of,$(1))
$(2)-flags := $$(CFLAGS) $(call flags_of,$(1))
$(2)-objs := $$(addprefix $(2)/,$$(patsubst %,lib/%,$$(stm-lib-objs) $$(stm-lib-asm-objs)) $$(stm-uffd-objs:%=uffd/%))

# Rewritten only when compiler or flags change: then everything is built again.
$(2)/flags: FORCE | deps
	@mkdir -p $(2)
	@echo '$$($(2)-cc) $$(BASE_CFLAGS) $$(LIB_CFLAGS) $$(USER_CFLAGS) $$($(2)-flags)' | cmp -s - $$@ || \
		echo '$$($(2)-cc) $$(BASE_CFLAGS) $$(LIB_CFLAGS) $$(USER_CFLAGS) $$($(2)-flags)' > $$@

$(2)/lib/%.o $(2)/uffd/%.o: private STM_CFLAGS := $(LIB_CFLAGS)
$(2)/lib/collect/%.o: private STM_CFLAGS := $(LIB_CFLAGS) $(USER_CFLAGS)
$(2)/tools/%.o: private STM_CFLAGS := $(USER_CFLAGS)
$(addprefix $(2)/tools/bench/,$(stm-bench-plain-objs)): private STM_CFLAGS :=
define compile_$(2)
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$($(2)-cc) $$(BASE_CFLAGS) $$(STM_CFLAGS) $$(if $$(filter lib/%.c uffd/%.c,$$<),-include export.h) $$($(2)-flags) \
		$$(if $$(filter clang,$$($(2)-cc)),,$$($$(basename $$(@F))-userccflags)) -MMD -MP -c -o $$@ $$<
endef
$(2)/lib/%.o: lib/%.c $(2)/flags
	$$(compile_$(2))
$(2)/lib/%.o: lib/%.S $(2)/flags
	$$(compile_$(2))
$(2)/uffd/%.o: uffd/%.c $(2)/flags
	$$(compile_$(2))
$(2)/tools/%.o: tools/%.c $(2)/flags
	$$(compile_$(2))

# the page that it holds
$(2)/tools/uffdstm/report_html.o: tools/uffdstm/report_html.c.html

$(2)/libuffdstm-internal.a: $$($(2)-objs)
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcs $$@ $$^

# One object in which only the public functions are global: the internal names cannot clash with a program's.
$(2)/libuffdstm.a: $$($(2)-objs) $(MAP) lib/check-symbols.sh build/symbols-agree
	$$(call say,AR,$$@)
	$$(Q)ld -r -o $(2)/uffdstm.o $$($(2)-objs)
	$$(Q)lib/check-symbols.sh list $(MAP) > $(2)/public
	$$(Q)objcopy --keep-global-symbols=$(2)/public $(2)/uffdstm.o
	$$(Q)rm -f $$@ && ar rcs $$@ $(2)/uffdstm.o
	$$(Q)lib/check-symbols.sh built $(MAP) $$@

$(foreach p,$(stm-tools),$(eval $(call program,$(2),tools/uffdstm,$(p))))
$(foreach p,$(stm-samples),$(eval $(call program,$(2),tools/samples,$(p))))
$(foreach p,$(stm-bench),$(eval $(call program,$(2),tools/bench,$(p))))
-include $(wildcard $(2)/lib/*.d $(2)/lib/*/*.d $(2)/uffd/*.d $(2)/tools/*/*.d)
endef

# ---- what is built ----

SONAME := libuffdstm.so.$(MAJOR)
SHARED := build/libuffdstm.so.$(VERSION)
OUT := $(call dir_of,$(VARIANT))
LIBRARIES := build/libuffdstm.so build/libuffdstm.a build/uffdstm.pc
TOOLS := $(stm-tools:%=$(OUT)/tools/uffdstm/%)
SAMPLES := $(stm-samples:%=$(OUT)/tools/samples/%)
BENCH_PARTS := micro apps scale memory
BENCHES := $(stm-bench:%=$(OUT)/tools/bench/%)

.PHONY: all lib tools samples benches selftests installed-tests run bench bench-plots $(BENCH_PARTS:%=bench-%) check check-long check-mutants check-kernels \
	check-kbuild check-man sudotest deps install clean help FORCE
all: lib tools samples benches selftests
lib: $(LIBRARIES) $(OUT)/libuffdstm.a
tools: $(TOOLS)
samples: $(SAMPLES)
benches: $(BENCHES)

$(foreach v,$(variants),$(eval $(call variant,$(v),$(call dir_of,$(v)))))

# Symbol map, version and public header name the same functions, or nothing is linked.
build/symbols-agree: $(MAP) $(HEADER) $(wildcard lib/include/*/*.h) lib/check-symbols.sh | deps
	@mkdir -p build
	$(Q)lib/check-symbols.sh header $(MAP) "$(HEADER) $(COLLECTIONS)" $(CC) -Ilib/include
	@touch $@

$(SHARED): $(build-objs) $(MAP) build/symbols-agree
	$(call say,LD,$@)
	$(Q)$(CC) $(build-flags) -shared -Wl,-soname,$(SONAME) -Wl,--version-script,$(MAP) $(LIB_LDFLAGS) \
		-o $@ $(build-objs) $(LIB_LDLIBS)
	$(Q)lib/check-symbols.sh built $(MAP) $@

build/libuffdstm.so: $(SHARED)
	$(Q)ln -sf $(notdir $(SHARED)) build/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

make_pc = sed -e 's|@PREFIX@|$(prefix)|' -e 's|@LIBDIR@|$(libdir)|' -e 's|@INCLUDEDIR@|$(includedir)|' \
	-e 's|@VERSION@|$(VERSION)|' -e 's|@CFLAGS@|$(USER_CFLAGS)|' \
	-e 's|@LDLIBS@|$(LIB_LDLIBS)|' -e 's| *$$||' lib/uffdstm.pc.in
build/uffdstm.pc: lib/uffdstm.pc.in $(HEADER) Makefile
	@mkdir -p build
	$(Q)$(make_pc) > $@

# ---- run and measure ----

run: $(OUT)/tools/samples/finddup
	@FINDDUP=$(abspath $<) THREADS='$(THREADS)' INPUT='$(INPUT)' tools/samples/run_finddup

# One after the other: they measure times. BENCH_ARGS is for one of them.
bench: $(BENCHES)
	@set -e; for part in $(BENCH_PARTS); do echo "==== $$part"; \
		$(OUT)/tools/bench/$$part -o $(OUT)/bench/$$part.json; done

$(BENCH_PARTS:%=bench-%): bench-%: $(OUT)/tools/bench/%
	@$< -o $(OUT)/bench/$*.json $(BENCH_ARGS)

# It counts in builds that time nothing.
bench bench-scale: build/counting/tools/bench/scale build/small/tools/bench/scale

# Of what was measured before.
bench-plots: deps
	@tools/bench/plots.sh $(OUT)/bench

# ---- tests ----

TESTDIR := $(abspath $(OUT))/selftests
# The kernel's harness and runner, from KSELFTEST_DIR (a kernel tree) or Debian's linux-source package.
ifdef KSELFTEST_DIR
KERNEL_TREE := $(abspath $(KSELFTEST_DIR))
KSELFTEST := $(KERNEL_TREE)/tools/testing/selftests
$(KSELFTEST)/lib.mk:
	@echo "KSELFTEST_DIR=$(KSELFTEST_DIR) is no kernel tree: it has no tools/testing/selftests/lib.mk"; exit 1
else
KERNEL_TREE := $(abspath build/kselftest)
KSELFTEST := $(KERNEL_TREE)/tools/testing/selftests
$(KSELFTEST)/lib.mk $(KERNEL_TREE)/scripts/subarch.include &: | deps
	$(call say,EXTRACT,build/kselftest)
	$(Q)rm -rf build/kselftest build/kselftest.new && mkdir -p build/kselftest.new
	$(Q)tarball=$$(ls /usr/src/linux-source-*.tar.xz 2>/dev/null | sort -V | tail -n 1); \
	xz -dc -T0 "$$tarball" | tar -x -C build/kselftest.new --strip-components=1 --no-same-owner --touch \
		--wildcards --no-wildcards-match-slash \
		$(addprefix '*/tools/testing/selftests/,*.h' *.mk' *.sh' Makefile' kselftest/*') '*/scripts/subarch.include' && \
	mv build/kselftest.new build/kselftest
endif

# libraries that tests link: the public one and, beside it, the one with all names for white-box tests
PUBLIC_LIB := $(if $(filter default,$(VARIANT)),build/libuffdstm.so,$(OUT)/libuffdstm.a)
WHITE_LIB := $(call dir_of,$(WHITE))/libuffdstm-internal.a
make_tests = $(MAKE) -C selftests KSELFTEST=$(KSELFTEST) OUTPUT=$(TESTDIR) TESTS='$(TESTS)' \
	CC=$(call compiler_of,$(VARIANT)) UFFDSTM_CFLAGS='$($(OUT)-flags) $(USER_CFLAGS)' \
	UFFDSTM_LIB=$(abspath $(PUBLIC_LIB)) WHITE_CFLAGS='$($(call dir_of,$(WHITE))-flags) $(USER_CFLAGS)' \
	WHITE_LIB=$(abspath $(WHITE_LIB)) LIB_LDLIBS='$(LIB_LDLIBS)'

selftests: $(KSELFTEST)/lib.mk $(PUBLIC_LIB) $(WHITE_LIB)
	@mkdir -p $(TESTDIR)
	+$(Q)$(make_tests) all

# As `make kselftest-install` does it, for run_kselftest.sh.
installed-tests: selftests
	@rm -rf $(TESTDIR)/run && mkdir -p $(TESTDIR)/run
	@cp -r $(KSELFTEST)/run_kselftest.sh $(KSELFTEST)/kselftest $(TESTDIR)/run/
	+@$(make_tests) -s install INSTALL_PATH=$(TESTDIR)/run/uffdstm
	+@$(make_tests) -s emit_tests COLLECTION=uffdstm > $(TESTDIR)/run/kselftest-list.txt

# Scripts among the tests find the tree in UFFDSTM_SRC, what was built in UFFDSTM_BUILD.
check: build/tools/uffdstm/uffdstm build/tools/bench/compare
check: installed-tests build/libuffdstm.so build/uffdstm.pc $(stm-samples:%=build/tools/samples/%) build/small/tools/samples/finddup build/tools/bench/apps
	@env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL UFFDSTM_SRC=$(CURDIR) UFFDSTM_BUILD=$(CURDIR)/build \
		selftests/run.sh $(TESTDIR)/run

# Setup and undo; without root it says so and skips.
sudotest: build/tools/uffdstm/uffdstm
	+@$(MAKE) -s selftests TESTS=transaction_test
	@UFFDSTM_BUILD=$(CURDIR)/build CC='$(CC)' selftests/setup_test.sh $(TESTS)

check-man:
	+@$(MAKE) check TESTS=man_test.sh

check-long check-mutants: check-%: deps
	+@selftests/$(patsubst check-%,%,$@).sh

# The script says what cannot be downloaded, and skips that.
check-kbuild: build/tools/uffdstm/uffdstm $(KSELFTEST)/lib.mk $(KERNEL_TREE)/scripts/subarch.include
	+@KERNEL_TREE=$(KERNEL_TREE) selftests/kbuild.sh

# Where qemu cannot be installed, the script says so and skips.
check-kernels: deps
	@.ci/deps $(DEPS_kernels) || :
	+@TESTS='$(TESTS)' selftests/kernels.sh

# ---- packages ----

DEPS_build := gcc libc6-dev binutils liburing-dev libxxhash-dev libjson-c-dev libcap-dev libdw-dev $(if $(findstring clang,$(CC)),clang)
DEPS_all := $(DEPS_build) $(if $(KSELFTEST_DIR),,linux-source xz-utils)
DEPS_check := $(DEPS_all) zlib1g-dev rsync mandoc gdb valgrind g++ clang libclang-rt-14-dev pkg-config \
	strace libcap2-bin
DEPS_kernels := qemu-system-x86
# One list, by what was asked for, so that a single look is enough.
deps_set := $(if $(filter deps check% sudotest,$(MAKECMDGOALS)),check,$(if $(filter-out \
	lib tools samples benches run bench bench-% install build/%,$(or $(MAKECMDGOALS),all)),all,build))
deps:
	@.ci/deps $(DEPS_$(deps_set)) $(if $(filter bench-plots,$(MAKECMDGOALS)),gnuplot-nox) $(if $(filter deps,$(MAKECMDGOALS)),$(DEPS_kernels))

# ---- install ----

install: lib $(stm-tools:%=build/tools/uffdstm/%)
	$(INSTALL) -d $(addprefix $(DESTDIR),$(bindir) $(libdir) $(pkgconfigdir) $(includedir)/uffdstm \
		$(mandir)/man1 $(mandir)/man3 $(mandir)/man5 $(mandir)/man7 $(mandir)/man8 $(datadir)/uffdstm \
		$(datadir)/bash-completion/completions)
	$(INSTALL) -m 755 $(filter build/tools/%,$^) $(DESTDIR)$(bindir)/
	$(INSTALL) -m 644 build/libuffdstm.a $(DESTDIR)$(libdir)/
	$(INSTALL) -m 755 $(SHARED) $(DESTDIR)$(libdir)/
	ln -sf $(notdir $(SHARED)) $(DESTDIR)$(libdir)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/libuffdstm.so
	$(make_pc) > $(DESTDIR)$(pkgconfigdir)/uffdstm.pc
	$(INSTALL) -m 644 lib/include/*.h lib/include/*.hpp $(DESTDIR)$(includedir)/
	$(INSTALL) -m 644 lib/include/uffdstm/*.h lib/include/uffdstm/*.hpp $(DESTDIR)$(includedir)/uffdstm/
	$(foreach n,3 5 7,$(if $(wildcard lib/man/*.$(n)),$(INSTALL) -m 644 lib/man/*.$(n) $(DESTDIR)$(mandir)/man$(n)/ &&)) :
	$(INSTALL) -m 644 tools/uffdstm/uffdstm.8 $(DESTDIR)$(mandir)/man8/
	$(INSTALL) -m 644 tools/uffdstm/uffdstm-report.1 $(DESTDIR)$(mandir)/man1/
	$(INSTALL) -m 644 tools/uffdstm/completion.bash $(DESTDIR)$(datadir)/bash-completion/completions/uffdstm
	$(if $(wildcard tools/gdb/*.py),$(INSTALL) -m 644 tools/gdb/*.py $(DESTDIR)$(datadir)/uffdstm/)
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

clean:
	rm -rf build

help:
	@echo 'make               build library, tools, samples, benchmarks and selftests, below build/'
	@echo 'make run           find duplicates below /usr with 1 and 2 threads and sequentially'
	@echo '                   (THREADS=n, INPUT=dir)'
	@echo 'make bench         measure the library, in some minutes; writes build/bench/*.json'
	@echo 'make bench-NAME    one part of that: $(BENCH_PARTS) (BENCH_ARGS=..., see build/tools/bench/NAME -h)'
	@echo 'make bench-plots   draw what was measured as SVG, by gnuplot; build/tools/bench/compare OLD.json NEW.json'
	@echo 'make check         run the selftests, minutes (TESTS="name name", VARIANT=...)'
	@echo 'make check-long    long torture, second compiler, sanitizers, installed library'
	@echo 'make check-mutants one mistake in the library at a time, each caught by a test'
	@echo 'make check-kernels the selftests on Debian kernels 6.1 and 6.12, in qemu (TESTS="name name")'
	@echo 'make check-kbuild  tools and tests built by kbuild, and the tests as a folder of a kernel tree (KERNEL=headers)'
	@echo 'make sudotest      uffdstm setup and undo, as root, on places of their own (TESTS="name name")'
	@echo 'make check-man     lint the man pages'
	@echo 'make lib           library only; also: tools, samples, benches, selftests'
	@echo 'make install       DESTDIR=, prefix=/usr/local'
	@echo 'make deps          install the Debian packages that all of this needs (as root)'
	@echo 'make clean         remove build/'
	@echo
	@echo 'CC=clang, CFLAGS=..., V=1 (show commands), KSELFTEST_DIR=kernel tree,'
	@echo 'VARIANT=default|schedule|small|debug|asan|clang|static|noevents|counting|mutants or some joined by "-"'
