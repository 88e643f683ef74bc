# shellcheck shell=sh
# Functions of the scripts that run in a root. Each check prints a line; the first that fails ends the script.

ok() {
  echo "ok: $*"
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# Waits until a command succeeds.
until_true() {
  what=$1
  shift
  for _ in $(seq 200); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  fail "$what: not within 20 s"
}

# Packages of the project that are installed in any state.
ours() {
  dpkg-query -W -f '${Package} ${Source}\n' | sed -n 's/ shm2$//p'
}

# Installs by apt. Packages of Debian are fetched once and kept.
apt_install() {
  try_install "$@" && return
  # The lists may be older than what the mirror has.
  apt-get update -q >/dev/null 2>&1 || true
  try_install "$@" || fail "apt-get install $*: $(cat /tmp/apt.log)"
}

try_install() {
  apt-get install -q -y --no-install-recommends -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold \
    -o Dpkg::Options::=--force-unsafe-io "$@" >/tmp/apt.log 2>&1
}

# All files, without what the installation of any package changes, or a start of the system.
files() {
  set -- /proc /sys /dev /run /tmp /mnt /var/cache/apt /var/cache/debconf /var/cache/ldconfig /var/cache/private \
    /var/lib/apt /var/lib/dpkg /var/lib/private /var/lib/systemd /var/log /etc/machine-id /etc/.updated /var/.updated \
    /etc/shm2-complete /root/.ssh
  # Each of them, but the first, behind -o. Word splitting is meant.
  # shellcheck disable=SC2046
  find / -xdev \( -path "$1" $(shift && printf -- '-o -path %s ' "$@") \) -prune -o -print |
    grep -v -e '\.pyc$' -e '/__pycache__$' -e '^/etc/\(passwd\|group\|g\?shadow\)-$' | LC_ALL=C sort
}
