# What people and CI run. Needs make and a Python >= 3.11 (`make PYTHON=...` names one); all the rest goes to .venv.
PYTHON = $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
ACTIVATE := export PATH="$(CURDIR)/.venv/bin:$$PATH";
INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check
REQUIRED := tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]

.PHONY: which-python demo docs test test-oldest proof bench lint
demo: .venv/installed ; $(ACTIVATE) sh examples/hello/demo.sh && sh examples/hep_cuts/demo.sh
docs: .venv/testable ; $(ACTIVATE) python -m sphinx -W --keep-going -n -q -d .cache/doctrees docs .cache/manual && echo ".cache/manual/index.html"
test: .venv/testable ; $(ACTIVATE) python -m pytest -n 2 --dist loadgroup $(ARGS)
test-oldest: .venv/oldest/complete ; $(ACTIVATE) PYTHONPATH="$(CURDIR)/.venv/oldest" python -m pytest tests/workdir $(ARGS)
proof: .venv/testable ; $(ACTIVATE) python -m pytest -m proof $(ARGS)
bench: .venv/testable ; $(ACTIVATE) for b in startup throughput warm hep pool executor; do b=tests/benchmarks/$$b.py; echo "== $$b" && python $$b || exit; done
which-python: ; @echo "$(PYTHON)"
lint: .venv/testable ; $(ACTIVATE) ruff check && ruff format --check && mypy

.venv/installed: pyproject.toml pytaskfarmer/bin/pytaskfarmer.py
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 with ensurepip found: install one, or name it: make PYTHON=..." >&2; exit 1; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	@touch $@

.venv/testable: .venv/installed
	$(INSTALL) --editable ".[test,hep,plot,docs]"
	@touch $@

# The oldest releases that pyproject.toml allows.
.venv/oldest/complete: .venv/testable
	$(INSTALL) --target $(@D) --upgrade $$(.venv/bin/python -c 'import tomllib; print(*(r.replace(">=", "==") for r in $(REQUIRED)))')
	@touch $@
