# The commands of the README. Everything runs in .venv, which `make env` creates.
PYTHON ?= python3.11
VENV   := .venv
RUNS   ?= runs
WORKERS ?= 2
# The path of a clone may hold spaces, so every path is quoted where a shell reads it. make's own functions of paths
# (abspath, realpath) would cut it into words; this one does not.
whole = $(if $(filter /%,$(firstword $1)),$1,$(CURDIR)/$1)
BIN      := $(call whole,$(VENV))/bin
ALL_RUNS = $(call whole,$(RUNS))
ifneq ($(words $(VENV)),1)
$(error VENV must be one word, because make has targets in it; got '$(VENV)')
endif
export PATH := $(BIN):$(PATH)
export HF_HUB_DISABLE_TELEMETRY = 1
# Of nbconvert, of the kernels it starts (40: errors), and of gRPC under milvus-lite, only what needs somebody is shown.
QUIET := --log-level=ERROR --ExecutePreprocessor.extra_arguments=--log-level=40
export GRPC_VERBOSITY = NONE
# Pictures in a notebook have twice the dots, for sharp screens. Those of paper pages need not: the site shows the same
# figures from figures/.
SHARP := --ExecutePreprocessor.extra_arguments="--InlineBackend.figure_formats={'retina'}"
EXECUTE = TQDM_DISABLE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 OMP_NUM_THREADS=1 "$(BIN)/jupyter" nbconvert $(QUIET) --to notebook --execute --inplace
PAGES  := $(wildcard nbs/paper/*.ipynb)

DRAWING := $(wildcard $(addprefix anchoral/study/,looks.py evidence.py forest.py typeset.py))

.PHONY: benchmark benchmark-million help env reproduce figures all-figures notebooks readme site slides student browser test hooks clean
help:
	@echo "make reproduce   set up, then texts -> embeddings -> quick profile -> results -> figures and tables in runs/, compared with ours"
	@echo "make figures     the paper's figures and tables from the saved results; all-figures: the claims and those of other runs too"
	@echo "make notebooks   execute in place the notebooks whose outputs readers come to see"
	@echo "make test        everything CI runs"
	@echo "make benchmark   speed beside small-text, half an hour on an idle machine; benchmark-million adds a pool of a million"
	@echo "make readme      README.md from nbs/index.ipynb"
	@echo "make site        the site in _docs, from the notebooks; open _docs/index.html"
	@echo "make slides      two lectures as slides in _class; they open without a network"
	@echo "make student     in _class: the student's package, the assignment for nbgrader, the instructor's sheet"
	@echo "make hooks       a git hook that keeps notebooks clean and anchoral/ in step"
	@echo "make clean       delete run folders and the environment; the cache: anchoral cache --clear"

env: $(VENV)/.done
# Not pyproject.toml: nbdev-export writes it anew each time, and `make test` exports.
$(VENV)/.done: constraints.txt settings.ini setup.py
	@echo "Setting up $(VENV): about 200 packages, 0.5 GB to download with a CPU build of torch (3 GB with a CUDA build), 2.5 GB on disk; 3 to 10 minutes."
	$(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --upgrade "pip==26.3"
	"$(BIN)/python" -m pip install --quiet -c constraints.txt -e ".[all,cluster,milvus,bench,docs,dev]"
	@touch "$@"

reproduce: env
	@echo "The quick profile downloads 38 MB of news text and takes about 5 minutes on two cores: 3 to encode 9,100 texts, 2 for 28 runs and their figures."
	"$(BIN)/anchoral" fetch reuters-metals --tokens 64
	"$(BIN)/anchoral" run --profile quick --runs "$(RUNS)" --workers $(WORKERS)
	ANCHORAL_RESULTS="$(ALL_RUNS)/results" "$(BIN)/anchoral" collect --profile quick --runs "$(RUNS)"
	ANCHORAL_RESULTS="$(ALL_RUNS)/results" ANCHORAL_FIGURES="$(ALL_RUNS)/figures" "$(BIN)/anchoral" render --profile quick --workers $(WORKERS)
	"$(BIN)/anchoral" verify --profile quick --runs "$(RUNS)"

figures: figures/.rendered
figures/.rendered: $(wildcard results/*.parquet) $(wildcard results/counts.csv) $(PAGES) anchoral/study/figures.py anchoral/study/tables.py $(DRAWING) | env
	"$(BIN)/anchoral" render --workers 3 --pages fig1 wordnet fig2 fig3 fig4 table1 table2 table3 table4 table5
	@touch "$@"

all-figures: figures
	"$(BIN)/anchoral" render --pages claims missed-cluster open --workers $(WORKERS)
	"$(BIN)/anchoral" render --profile quick --pages fig2 fig3 fig4 --workers $(WORKERS)
	"$(BIN)/anchoral" render --profile offline --task news-metals --strategy entropy --pages fig2 fig3 fig4 table2 --workers $(WORKERS)
	"$(BIN)/anchoral" render --profile ablation --task news-metals --pages table3
	"$(BIN)/anchoral" render --profile ablation --task news20-religion --pages table3
	"$(BIN)/anchoral" render --profile finetune --pages fig2 table2 --workers $(WORKERS)

notebooks: env
	cd nbs && $(EXECUTE) $(SHARP) [0-9]*.ipynb tasks.ipynb files.ipynb cli.ipynb study/*.ipynb annotator/*.ipynb teach/*.ipynb tutorials/*.ipynb
	cd nbs && $(EXECUTE) index.ipynb paper/*.ipynb benchmarks/speed.ipynb
	"$(BIN)/nbdev-clean"

benchmark benchmark-million: env
	mkdir -p "$(ALL_RUNS)"
	cd nbs/benchmarks && TQDM_DISABLE=1 OMP_NUM_THREADS=1 "$(BIN)/papermill" --no-progress-bar measure.ipynb "$(ALL_RUNS)/$@.ipynb" -p out ../../results -p scale $(if $(findstring million,$@),million,full)
	cd nbs && TQDM_DISABLE=1 "$(BIN)/jupyter" nbconvert $(QUIET) --to notebook --execute --inplace benchmarks/speed.ipynb
	"$(BIN)/nbdev-clean"

readme: env
	"$(BIN)/jupyter" nbconvert --log-level=ERROR --to markdown --no-input --no-prompt --output-dir . --output README nbs/index.ipynb
	sed -i 's#(\.\./#(#g; s#"\.\./#"#g' README.md
	sed -i '/^$$/N; /^\n$$/D' README.md

site: env
	NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1 "$(BIN)/mkdocs" build --strict --quiet -f site/mkdocs.yml
	@echo "Open _docs/index.html; it needs no network and no server."

slides: env
	cd nbs && TQDM_DISABLE=1 OMP_NUM_THREADS=1 "$(BIN)/jupyter" nbconvert $(QUIET) --to notebook --execute --output-dir "$(CURDIR)/_class/executed" tutorials/lecture-1.ipynb tutorials/lecture-2.ipynb
	"$(BIN)/python" -c "from anchoral.teach.slides import write_slides; [print('Open', write_slides(f'_class/executed/lecture-{n}.ipynb', '_class/slides')) for n in (1, 2)]"

student: env
	PYTHONPATH=tests "$(BIN)/python" -c "from anchoral.teach.handout import write_class; from wrong_answers import WRONG_ANSWERS; write_class('_class', WRONG_ANSWERS)"
	@echo "In _class: student.zip for them; instructor.html and nbgrader/ for you."

browser:
	@if command -v chromium chromium-browser google-chrome >/dev/null; then :; elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing Chromium, with which some tests look at pages."; apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y chromium fonts-dejavu-core >/dev/null; \
	else echo "No Chromium found: the tests that look at pages are skipped. To run them: sudo apt-get install chromium"; fi

test: env browser
	"$(BIN)/nbdev-export" && "$(BIN)/nbdev-clean"
	@git diff --exit-code --no-ext-diff --stat -- nbs anchoral || { echo "Notebooks were not clean or anchoral/ was out of step: commit what nbdev-export and nbdev-clean changed."; exit 1; }
	"$(BIN)/ruff" check .
	"$(BIN)/basedpyright"
	TQDM_DISABLE=1 ANCHORAL_FIGURES="$$(mktemp -d)" "$(BIN)/nbdev-test" --n-workers 2
	"$(BIN)/python" -m pytest -n 2 --dist loadfile

hooks:
	git config core.hooksPath .githooks

clean:
	rm -rf "$(RUNS)" "$(VENV)" figures/.rendered
