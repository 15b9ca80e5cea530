# shellcheck shell=bash
# What the shell scripts share.

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# The packages of the tests live in .venv; they are installed anew only when the list has changed.
install_python() {
  local stamp=.venv/installed
  cmp -s Tests/EndToEnd/requirements.txt "$stamp" && return
  rm -rf .venv
  /usr/bin/python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --retries 5 -r Tests/EndToEnd/requirements.txt
  cp Tests/EndToEnd/requirements.txt "$stamp"
}
