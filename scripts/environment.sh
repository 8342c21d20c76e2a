#!/usr/bin/env bash
# Builds the environment of this checkout (.venv): Python 3.11 or newer, the versions of constraints.txt, clickflow
# itself in place. Said and done once; a second call that finds nothing changed takes no time.
#
#   scripts/environment.sh        what `make demo` and `make up` need
#   scripts/environment.sh dev    and on top of it what tests, checks and clusters need
#
#   PYTHON           the interpreter to build on                      (default: the first that is new enough)
#   VENV             where it goes                                    (default: .venv)
#   PIP_FIND_LINKS   a folder of wheels, for instance a CPU build of torch; not used where an NVIDIA GPU is found
#   UV_*             read by uv as always: UV_FIND_LINKS, UV_DEFAULT_INDEX, UV_TORCH_BACKEND=cpu, …
set -euo pipefail
cd "$(dirname "$0")/.."

VENV="${VENV:-.venv}"
PART="${1:-}"
case "$PART" in
  '') STAMP="$VENV/.built" PACKAGES=. ;;
  dev) STAMP="$VENV/.built-dev" PACKAGES='.[dev]' ;;
  *) printf 'environment: %s is not known; nothing, or dev\n' "$PART" >&2 && exit 2 ;;
esac

say() { printf 'environment: %s\n' "$*"; }
fail() { # what is missing, how to get it
  printf 'environment: %s\n' "$1" >&2
  shift
  printf '  %s\n' "$@" >&2
  exit 2
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

choose_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON names '$PYTHON', which is not there"
    new_enough "$PYTHON" || fail "PYTHON names '$PYTHON', which is older than Python 3.11"
    command -v "$PYTHON"
    return
  fi
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  if command -v python3 >/dev/null; then
    fail "Python 3.11 or newer is needed; this is $(python3 --version 2>&1 || echo 'an unknown version')" \
      "Debian 12, Ubuntu 24.04 and later have it: sudo apt-get install python3 python3-venv" \
      "an interpreter elsewhere: make PYTHON=/path/to/python3 environment"
  fi
  fail "Python 3.11 or newer is needed, and there is none" "get it: sudo apt-get install python3 python3-venv"
}

command -v git >/dev/null ||
  fail "git is needed: runs work in clones of the repository" "get it: sudo apt-get install git"

python="$(choose_python)"

# Debian and Ubuntu ship venv apart from Python.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  version="$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')"
  fail "Python's venv module is needed, and $python comes without it" \
    "get it: sudo apt-get install python3-venv   (or python$version-venv, where $version is not the system's own)"
fi

# Two makes at once build one environment, not two halves.
mkdir -p "$VENV"
if command -v flock >/dev/null; then
  exec 9>"$VENV/.building" # not .lock: uv waits for that one
  flock -n 9 || { say "another process is building $VENV; waiting for it"; flock 9; }
fi

wanted="$(cat constraints.txt pyproject.toml scripts/environment.sh | sha256sum | cut -d' ' -f1) $PWD"
if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$wanted" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
  touch "$STAMP"
  exit 0
fi

unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME
rm -f "$STAMP"
say "$("$python" --version) ($python) → $VENV"
if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
  rm -rf "$VENV"/{bin,lib,lib64,include,pyvenv.cfg} "$VENV"/.built*
  "$python" -m venv "$VENV" 9>&-
fi

say "uv, which installs the rest"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv 9>&- ||
  fail "uv could not be installed from the package index" "pip's message above says why; a proxy or mirror: PIP_INDEX_URL, PIP_PROXY"

# uv does not read pip's settings.
index="$("$VENV/bin/python" -m pip config get global.index-url 2>/dev/null || true)"
index="${PIP_INDEX_URL:-$index}"
if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$index"; fi
if nvidia-smi -L >/dev/null 2>&1; then
  say "an NVIDIA GPU is here: torch comes from the index, with CUDA"
elif [ -n "${PIP_FIND_LINKS:-}" ]; then
  export UV_FIND_LINKS="${UV_FIND_LINKS:-$PIP_FIND_LINKS}"
  say "wheels in $UV_FIND_LINKS are taken where they fit"
elif [ -z "${UV_FIND_LINKS:-}${UV_TORCH_BACKEND:-}" ]; then
  say "no GPU and no folder of wheels: torch comes with its CUDA libraries, 3 GB (UV_TORCH_BACKEND=cpu avoids it)"
fi

say "the packages of constraints.txt, and their bytecode: a minute or two, once"
started=$SECONDS
beat() { # a slow disk or line takes minutes: one line each, so that nobody takes it for hung
  while sleep 30 >/dev/null 2>&1; do
    packages=("$VENV"/lib/python*/site-packages/*.dist-info)
    say "… $((SECONDS - started)) s, ${#packages[@]} packages are in place"
  done
}
beat 9>&- &
trap "kill $! 2>/dev/null || true" EXIT
"$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --constraint constraints.txt \
  --build-constraint constraints.txt --editable "$PACKAGES" 9>&- ||
  fail "the packages could not be installed; uv's message above says why" \
    "nothing else was changed; the next make tries again"
# But for the libraries' own tests, a quarter of it; of the rest, some are templates and no valid Python.
"$VENV/bin/python" -m compileall -qq -j 0 -x 'site-packages/.*/(_?tests?|testing)/' "$VENV"/lib/python*/site-packages \
  9>&- || true
printf '%s' "$wanted" >"$STAMP"
say "ready after $((SECONDS - started)) s; use it by hand: source $VENV/bin/activate"
