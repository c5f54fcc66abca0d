# make demo   the main job: real clones of a running Python, without and with protection
# make test   the tests, JOBS (4) at a time; ARGS=... for pytest
# make vm-test   clones of whole virtual machines, under QEMU (root, once 2 GB of Debian packages)
# make criu-test   a process tree dumped once and restored many times; root on Debian or Ubuntu, about two minutes
# make image-test  examples/base-image built and run; the same, about a minute once all is in the cache
# make wheels  wheels for machines without a compiler, into dist/: glibc and musl, x86-64 and arm64, each CPython that can be
#             had; ARGS="--only KIND VERSION" for some; 20 CPU seconds each
# make site   the documentation as a web site, in .venv/site/html
# make library-test  libraries of PyPI in clones, against the levels of docs/libraries.md; ARGS=NAME... for some of
#             them; a quarter of an hour, and 8 GB in the cache
# make bench  what each path costs, in pairs without and with, and how that grows; five minutes, on a machine that does
#             nothing else; .ci/bench does it on each CPython
# make instructions  instructions of each guarded path against a stored bound; seconds, needs valgrind
# Each prepares a virtual environment of its own below .venv/ and, as root on Debian or Ubuntu, installs what is missing.

PYTHON ?= python3
JOBS ?= 4
SOURCES := $(wildcard cython/* snapsafe_rt/*.py snapsafe_rt/*/*.py sitecustomize/*.py packaging/*/*) setup.py pyproject.toml

.PHONY: demo test vm-test evidence sequence criu-test image-test wheels lint bench instructions check clean library-test site

demo: .venv/demo/ready
	.venv/demo/bin/snapsafe demo $(ARGS)

test: .venv/test/ready
	.venv/test/bin/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

vm-test: .venv/test/ready
	.venv/test/bin/python -m pytest -q -s --timeout 1200 tests/vm $(ARGS)

# docs/evidence.md, its picture and that of docs/orchestrators.md, from a run of all three.
evidence: .venv/test/ready
	SNAPSAFE_VM_RESULTS=$(CURDIR)/.venv/vm-results.json $(MAKE) vm-test criu-test image-test
	.venv/test/bin/python -m tests.vm.evidence .venv/vm-results.json .venv/criu-results.json .venv/images-results.json docs
	.venv/test/bin/python -m tests.vm.sequence .venv/vm-results.json docs/orchestrators.svg

# docs/orchestrators.svg alone, from a snapshot that it takes for that.
sequence: .venv/test/ready
	SNAPSAFE_VM_RESULTS=$(CURDIR)/.venv/sequence.json $(MAKE) vm-test ARGS="-k of_the_agent"
	.venv/test/bin/python -m tests.vm.sequence .venv/sequence.json docs/orchestrators.svg

lint: .venv/lint/ready
	.ci/lint .venv/lint/bin

# With the CRIU and the Python of a Debian tree in the cache (.ci/tree): both newer than most machines'.
criu-test: .venv/criu/ready
	.ci/tree run --alone .venv/criu/bin/python tests/criu/lab.py packaging/criu/snapsafe.sh .venv/criu-results.json

image-test:
	.ci/images

# The man page and the completions in packaging/command as well, with ARGS=--write.
site: .venv/site/ready
	.ci/site $(ARGS)

wheels:
	.ci/wheels $(ARGS)
library-test: .venv/test/ready
	.venv/test/bin/python .ci/libraries $(ARGS)

bench: .venv/bench/ready
	-.venv/bench/bin/python -m benchmarks --docs docs $(ARGS)
	.venv/bench/bin/python -m benchmarks --growth --docs docs $(ARGS)

instructions: .venv/test/ready
	.venv/test/bin/python -m benchmarks.instructions $(ARGS)

# Everything that .ci/run does.
check:
	.ci/run

.venv/demo/ready: $(SOURCES)
	PYTHON=$(PYTHON) .ci/venv .venv/demo .[cli]

.venv/test/ready: $(SOURCES)
	PYTHON=$(PYTHON) SNAPSAFE_BUILD=strict .ci/venv .venv/test -e .[cli,test]

.venv/site/ready: $(SOURCES)
	PYTHON=$(PYTHON) SNAPSAFE_BUILD=strict .ci/venv .venv/site .[cli,site]

.venv/lint/ready: $(SOURCES)
	PYTHON=$(PYTHON) SNAPSAFE_BUILD=strict .ci/venv .venv/lint -e .[cli,test,lint]

# With the modules that it is compared with.
.venv/bench/ready: $(SOURCES)
	PYTHON=$(PYTHON) .ci/venv .venv/bench -e . uuid_utils fastuuid ddtrace opentelemetry-distro

.venv/criu/ready: $(SOURCES)
	.ci/tree >/dev/null && .ci/tree add criu crun libcriu2 postgresql
	.ci/tree run env PYTHON=python3.14 SNAPSAFE_BUILD=strict .ci/venv .venv/criu . psycopg

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find snapsafe_rt -name '_core*.so' -delete
