#!/bin/sh
# Runs test programs inside a Debian tree, up to the first that fails, then prints which tests were skipped.
#
# usage: run-tests.sh TEST...
# environment: SHM2_SKIPPED names the file into which tests write that they were skipped
gst-inspect-1.0 --version | head -1
for test; do
  echo "${test##*/}"
  "$test" --quiet || {
    echo "failed: $test"
    exit 1
  }
done
cat "$SHM2_SKIPPED" 2>/dev/null || true
