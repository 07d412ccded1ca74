#!/usr/bin/env bash
# Writes requirements.lock: the exact versions a fresh environment gets today, names and versions only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet '.[dev]'
{
  echo "# Exact versions for repeatable installs; \`make lock\` writes this file, \`make\` installs with it."
  "$scratch/venv/bin/pip" freeze --exclude holdfast --exclude pip --exclude setuptools
} >requirements.lock
