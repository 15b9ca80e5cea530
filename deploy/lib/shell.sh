# shellcheck shell=bash
# What the shell scripts share.

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# Runs a program of Swift tests, one test after the other, as they share their process' event loop; keeps what it prints in LOG.
# Fails unless it says itself that all passed.
swift_tests() { # LOG COMMAND…
  local log=$1
  shift
  "$@" --testing-library swift-testing --no-parallel >"$log" 2>&1 && grep -aq 'Test run with .* passed' "$log"
}

# The packages of the tests live in .venv; they are installed anew only when the list has changed.
install_python() {
  local stamp=.venv/installed
  cmp -s Tests/EndToEnd/requirements.txt "$stamp" && return
  rm -rf .venv
  /usr/bin/python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --use-pep517 --retries 5 -r Tests/EndToEnd/requirements.txt
  cp Tests/EndToEnd/requirements.txt "$stamp"
}
