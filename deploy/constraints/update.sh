#!/usr/bin/env bash
# The versions of all packages in the images, with the hashes of every file that the index has of
# them: for each image a list that pip takes with --require-hashes.
#
#   deploy/constraints/update.sh             adds what pyproject.toml newly asks for
#   deploy/constraints/update.sh --upgrade   takes the newest versions that it allows
set -euo pipefail
cd "$(dirname "$0")/../.."

# compile NAME ARGUMENT...: what an image needs for Python 3.12, which all of ours have.
compile() {
  local name="$1"
  shift
  "${UV:-uv}" pip compile --quiet --generate-hashes --no-annotate --no-emit-index-url \
    --no-emit-find-links --custom-compile-command "make constraints" \
    --python-version 3.12 --python-platform linux \
    --output-file "deploy/constraints/$name.txt" "$@"
}

compile api pyproject.toml --extra api --extra gcs --extra s3 --extra azure "$@"
compile worker pyproject.toml --extra worker --extra sam3 --extra gcs --extra s3 --extra azure "$@"
compile worker-cpu pyproject.toml --extra worker --extra gcs --extra s3 --extra azure "$@"
compile autoscaler --no-emit-package shoal --no-emit-package shoal-autoscaler "$@" - <<REQUIREMENTS
.
./deploy/autoscaler[sky]
REQUIREMENTS
# What builds our own wheels, and those of packages that come as source.
compile build "$@" - <<REQUIREMENTS
setuptools>=77
wheel
REQUIREMENTS
