#!/usr/bin/env bash
# Writes docker/hashes.txt: the hashes of every package of constraints.txt, which the builds of the images hold what they
# fetch against. To be run after a change of constraints.txt; a test says where that was forgotten.
#
# torch is apart: the CPU's build comes from a folder of wheels or another index, so that docker/hashes-cuda.txt, with
# the hashes of the one with CUDA, is read for TORCH=cuda alone.
set -euo pipefail
cd "$(dirname "$0")/.."

uv="${VENV:-.venv}/bin/uv"
hashes() { # what constraints.txt pins, of standard input, with its hashes
  env -u UV_FIND_LINKS -u PIP_FIND_LINKS "$uv" pip compile --quiet --no-deps --generate-hashes --no-annotate --no-header \
    --no-emit-index-url --no-emit-find-links --python-version 3.11 -
}

grep -v '^torch==' constraints.txt | hashes >docker/hashes.txt
grep '^torch==' constraints.txt | hashes >docker/hashes-cuda.txt
echo "docker/hashes.txt: $(grep -c == docker/hashes.txt) packages, docker/hashes-cuda.txt: $(grep -c == docker/hashes-cuda.txt)"
