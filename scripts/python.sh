#!/bin/sh
# Installs the Python client of the protocol tests (tests/python/requirements.txt) into target/python, if necessary.
set -eu
cd "$(dirname "$0")/.."

wanted=tests/python/requirements.txt
folder=target/python
if cmp -s "$wanted" "$folder/requirements.txt"; then exit 0; fi
scripts/bring.sh python3-venv
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
# This copy comes last, so that the next run repeats an interrupted installation.
cp "$wanted" "$folder/"
