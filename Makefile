# make demo   the main job: real clones of a running Python, without and with protection
# make test   the tests
# make vm-test   clones of whole virtual machines, under QEMU (root, once 1.5 GB of Debian packages)
# Each prepares a virtual environment of its own below .venv/ and, as root on Debian or Ubuntu, installs what is missing.

PYTHON ?= python3
SOURCES := $(wildcard cython/* snapsafe_rt/*.py snapsafe_rt/*/*.py sitecustomize/*.py) setup.py pyproject.toml

.PHONY: demo test vm-test evidence lint check clean

demo: .venv/demo/ready
	.venv/demo/bin/snapsafe demo $(ARGS)

test: .venv/test/ready
	.venv/test/bin/python -m pytest $(ARGS)

vm-test: .venv/test/ready
	.venv/test/bin/python -m pytest -q -s --timeout 1200 tests/vm $(ARGS)

# docs/evidence.md and its picture, from a run of vm-test.
evidence: .venv/test/ready
	results=$$(mktemp) && SNAPSAFE_VM_RESULTS=$$results $(MAKE) vm-test && \
		.venv/test/bin/python tests/vm/evidence.py $$results docs; code=$$?; rm -f $$results; exit $$code

lint: .venv/lint/ready
	.ci/lint .venv/lint/bin

# Everything that .ci/run does.
check:
	.ci/run

.venv/demo/ready: $(SOURCES)
	PYTHON=$(PYTHON) .ci/venv .venv/demo .[cli]

.venv/test/ready: $(SOURCES)
	PYTHON=$(PYTHON) SNAPSAFE_BUILD=strict .ci/venv .venv/test -e .[cli,test]

.venv/lint/ready: $(SOURCES)
	PYTHON=$(PYTHON) SNAPSAFE_BUILD=strict .ci/venv .venv/lint -e .[cli,test,lint]

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find snapsafe_rt -name '_core*.so' -delete
