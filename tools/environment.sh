#!/bin/sh
# Set .venv up, unless it is already what requirements.txt and constraints.txt ask for.
#
# PYTHON names the Python to make it with. Without it that is python3, or else the newest python3.x
# on the path that will do.
set -eu
cd "$(dirname "$0")/.."
here=$(pwd -P)
needed="CPython 3.11, 3.12, 3.13 or 3.14" # what torch has builds for
on_path="python3 python3.14 python3.13 python3.12 python3.11"

# Why a Python will not do, or nothing if it will.
fault() {
  "$1" -c '
import sys
if sys.implementation.name != "cpython":
    print("is", sys.implementation.name)
elif not (3, 11) <= sys.version_info[:2] <= (3, 14):
    print("is Python", ".".join(map(str, sys.version_info[:3])))
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("lacks venv (on Debian and Ubuntu: apt install python3-venv)")
' 2>/dev/null || echo "does not run"
}

# Which Python an environment is of.
origin() {
  "$1" -c 'import sys; print(sys.version.split()[0], "in", sys.base_prefix)' 2>/dev/null
}

# Set `python` to the first of these that will do.
choose() {
  reasons=
  for python in "$@"; do
    [ $# = 1 ] || command -v "$python" >/dev/null || continue
    reason=$(fault "$python")
    [ -n "$reason" ] || return 0
    reasons="$reasons, $python $reason"
  done
  echo "$needed is needed: ${reasons:-, none is on the path}." | sed 's/: , /: /' >&2
  echo "Name another one with: make PYTHON=/path/to/python3.x" >&2
  exit 1
}

# What .venv/.ready holds when .venv is set up: the folder it works in, and what it was made from.
state() {
  echo "$here"
  cksum requirements.txt constraints.txt pyproject.toml
}

ready() {
  [ -x .venv/bin/python ] && state | cmp -s - .venv/.ready
}

if [ -n "${PYTHON:-}" ]; then
  choose "$PYTHON"
elif ready; then
  exit 0
else
  choose .venv/bin/python $on_path
fi

# One at a time: the others wait here, and then find everything done.
if [ -z "${ENVIRONMENT_LOCK:-}" ]; then
  exec "$python" -c '
import fcntl, os, sys
lock = os.open(".venv.lock", os.O_CREAT | os.O_WRONLY)
fcntl.flock(lock, fcntl.LOCK_EX)
os.set_inheritable(lock, True)  # given back when the last process that has it ends
os.environ["ENVIRONMENT_LOCK"] = str(lock)
os.execvp("sh", ["sh", "tools/environment.sh"])'
fi

folder=$(head -n 1 .venv/.ready 2>/dev/null) || folder=
outdated=
if [ ! -x .venv/bin/python ]; then
  rm -rf .venv
elif [ -n "$folder" ] && [ "$folder" != "$here" ]; then
  outdated="belongs to $folder"
elif [ -n "${PYTHON:-}" ] && [ "$(origin "$python")" != "$(origin .venv/bin/python)" ]; then
  outdated="is of Python $(origin .venv/bin/python)"
elif ready; then
  exit 0
else
  outdated=$(fault .venv/bin/python)
fi
if [ -n "$outdated" ]; then
  echo ".venv $outdated: it is made anew"
  if [ "$python" = .venv/bin/python ]; then choose $on_path; fi
  rm -rf .venv
fi

if [ ! -d .venv ]; then "$python" -m venv .venv; fi
echo "Setting up .venv with Python $(origin .venv/bin/python). The first time takes some minutes."
pip() { .venv/bin/python -m pip install -qq --disable-pip-version-check "$@"; }
pip -r requirements.txt -c constraints.txt
pip --no-deps -e .
state >.venv/.ready
