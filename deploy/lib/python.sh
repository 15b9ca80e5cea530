# shellcheck shell=bash
# The packages of the tests live in .venv; they are installed anew only when the list has changed.
install_python() {
  local stamp=.venv/installed
  cmp -s Tests/EndToEnd/requirements.txt "$stamp" && return
  rm -rf .venv
  /usr/bin/python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --retries 5 -r Tests/EndToEnd/requirements.txt
  cp Tests/EndToEnd/requirements.txt "$stamp"
}
