#!/bin/sh
# Purges all packages and compares the files with those before the installation.
# Is checked on its own.
# shellcheck source=/dev/null
. /mnt/project/rigs/packages/prelude.sh
set -eu

# shellcheck disable=SC2046
[ -z "$(ours)" ] || dpkg --purge $(ours) >/tmp/purge.log 2>&1 || fail "$(cat /tmp/purge.log)"
[ -z "$(ours)" ] || fail "after the purge there are: $(ours)"
files >/tmp/files
diff /var/log/files-before /tmp/files >/tmp/differ ||
  fail "the files before the installation and after the purge differ: $(grep '^[<>]' /tmp/differ | head -n 30)"
ok "purged after use: the system has the same $(wc -l </tmp/files) files as before (the users of the services stay)"
