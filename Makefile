# make, make test, make help. Needs a C11 compiler, make and nothing else.
ifeq ($(origin CC),default)
CC       := gcc
endif
CFLAGS   ?= -O2 -g
SAN      ?=
OMP      ?=
V        ?=
RUN      ?=
PREFIX   ?= /usr/local

# One folder per variant, so that switching compiler or sanitizer rebuilds nothing else.
BUILD := build-$(notdir $(CC))$(if $(SAN),-$(SAN))$(if $(OMP),-omp)
ARCH  := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))

# Contraction is off: where a fused multiply-add is meant, vec.h says so, and every instruction set rounds alike.
FLAGS := -std=c11 -D_GNU_SOURCE -I. -MMD -MP -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
         -ffp-contract=off -fno-math-errno -fno-trapping-math -fvisibility=hidden -fPIC -pthread $(CFLAGS)
LINK  := -pthread -lm
ifneq ($(SAN),)
FLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
LINK  += -fsanitize=$(SAN)
endif
ifneq ($(OMP),)
FLAGS += -fopenmp
LINK  += -fopenmp
endif

# The kernels are compiled once for each instruction set; engine/isa.def has the same names.
ifneq ($(filter x86_64 amd64,$(ARCH)),)
ISAS := base avx2 avx512
endif
ISAS ?= base
ISA_base   :=
ISA_avx2   := -mavx2 -mfma
ISA_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512

LIB_C    := $(wildcard engine/*.c engine/ops/*.c weights/*.c nets/*.c nets/image/*.c cam/*.c)
KERNEL_C := $(wildcard engine/kernels/*.c)
TEST_C   := $(wildcard tests/*.c tests/*/*.c tests/*/*/*.c)
TOOLS    := $(patsubst tools/%.c,%,$(wildcard tools/cam_*.c))
TOOL_C   := $(filter-out $(wildcard tools/cam_*.c),$(wildcard tools/*.c))
BENCH_C  := $(wildcard bench/*.c)

obj      = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIB_O   := $(call obj,$(LIB_C)) $(foreach isa,$(ISAS),$(patsubst %.c,$(BUILD)/%.$(isa).o,$(KERNEL_C)))
WRAP    := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=strdup,--wrap=mmap,--wrap=pthread_create
Q       := $(if $(V),,@)
say      = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),,@echo "  $(1)")

PROGRAMS := $(TOOLS:%=$(BUILD)/tools/%)

all: $(PROGRAMS) ## build the programs (default)
	$(Q)for p in $(PROGRAMS); do ln -sf $$p .; done

$(BUILD)/tools/cam_%: $(BUILD)/tools/cam_%.o $(call obj,$(TOOL_C)) $(BUILD)/libshapleycam.a
	$(call say,LINK $@)
	$(Q)$(CC) -o $@ $^ $(LINK)

$(BUILD)/libshapleycam.a: $(LIB_O)
	$(call say,AR $@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(FLAGS) -c -o $@ $<

# Loops over many numbers.
$(BUILD)/engine/%.o $(BUILD)/cam/%.o: FLAGS += -O3

define kernel_rule
$(BUILD)/engine/kernels/%.$(1).o: engine/kernels/%.c Makefile
	@mkdir -p $$(@D)
	$$(call say,CC $$< ($(1)))
	$$(Q)$$(CC) $$(FLAGS) $$(ISA_$(1)) -DISA=$(1) -c -o $$@ $$<
endef
$(foreach isa,$(ISAS),$(eval $(call kernel_rule,$(isa))))

# Files that the assembler copies into objects.
$(BUILD)/weights/seeded.o: $(wildcard weights/seeded_statistics/*)
$(BUILD)/nets/labels.o: nets/imagenet_classes.tsv
$(BUILD)/cam/image.o: tools/sample/orange_granny.png
$(BUILD)/tools/advice.o: weights/manifest

$(BUILD)/draw-sample: $(call obj,tools/sample/draw.c tools/sample/scene.c) $(BUILD)/libshapleycam.a
	$(call say,LINK $@)
	$(Q)$(CC) -o $@ $^ $(LINK)

sample: $(BUILD)/draw-sample ## draw the built-in sample picture anew
	$< tools/sample/orange_granny.png

$(BUILD)/run-tests: $(call obj,$(TEST_C) tools/sample/scene.c $(TOOL_C)) $(BUILD)/libshapleycam.a
	$(call say,LINK $@)
	$(Q)$(CC) -o $@ $^ $(WRAP) $(LINK)

$(BUILD)/cam_bench: $(call obj,$(BENCH_C) $(TOOL_C)) $(BUILD)/libshapleycam.a
	$(call say,LINK $@)
	$(Q)$(CC) -o $@ $^ $(LINK)

bench: $(BUILD)/cam_bench ## time layers and networks (B="net --net vgg16 --threads 2", B=layers, B=throughput, ...)
	$(Q)ln -sf $< cam_bench && ./cam_bench $(or $(B),--svg $(BUILD)/roofline.svg)

counts: $(BUILD)/cam_bench ## write down anew how many instructions networks take (needs valgrind; bench/counts checks them)
	$(Q)BENCH=$< bench/counts update

test: $(PROGRAMS) layers $(BUILD)/run-tests ## run the tests (T="name ..." for some, V=1 to list them, SAN=address|undefined|thread)
	$(Q)V=$(V) $(RUN) $(BUILD)/run-tests $(T)

# Fuzzing, with clang's libFuzzer: starts from the corpus, and what it learns stays in build-fuzz.
F       ?= pickle
SECONDS ?= 60
FUZZ_C  := $(wildcard weights/*.c) engine/status.c tests/fuzz/targets.c

build-fuzz/fuzz_%: $(FUZZ_C) Makefile
	@mkdir -p $(@D)
	$(Q)clang $(filter-out -MMD -MP,$(FLAGS)) -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -DFUZZ='"$*"' -o $@ $(FUZZ_C) -lm

fuzz: build-fuzz/fuzz_$(F) ## fuzz a parser of foreign files for a while (F=pickle|zip|legacy|safetensors|camw|npz|inflate|json SECONDS=60)
	@mkdir -p build-fuzz/$(F) && tar -xzf tests/fuzz/corpus/$(F).tar.gz -C build-fuzz/$(F)
	$< -max_total_time=$(SECONDS) -timeout=10 -artifact_prefix=build-fuzz/$(F)- build-fuzz/$(F)

# Includes may only point down the layers.
MAY := engine:engine weights:engine,weights nets:engine,weights,nets cam:engine,weights,nets,cam
layers: ## check that no include points up the layers
	@for p in $(MAY); do dir=$${p%%:*}; ok=$$(echo $${p#*:} | tr , '|'); \
	  if grep -rnE '#include "' $$dir | grep -vE "#include \"($$ok)/"; then echo "$$dir may include only: $$ok"; exit 1; fi; done

clean: ## remove everything that was built
	rm -rf build-* $(TOOLS) cam_bench

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */make \1\t/' | expand -t 16
	@echo; echo "variables: CC=gcc|clang  CFLAGS=...  SAN=address|undefined|thread  OMP=1  V=1 (show commands)  RUN=qemu-aarch64 (how to start the tests)"

export CC
.PHONY: all bench counts fuzz test layers sample clean help
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
