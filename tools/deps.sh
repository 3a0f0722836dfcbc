#!/bin/sh
# The one list of what millpond needs from Debian 12; installs what is missing.
#   tools/deps.sh            to build and to test
#   tools/deps.sh build      to build alone
set -eu
build="build-essential meson ninja-build pkg-config python3
  libmicrohttpd-dev libwslay-dev libuv1-dev libcurl4-gnutls-dev libgnutls28-dev nettle-dev libsqlite3-dev libpq-dev
  tzdata libsodium-dev libseccomp-dev libpcre2-dev libyaml-dev"
test="git ca-certificates python3-venv python3-pip libcmocka-dev postgresql-15 sqlite3 procps clang libclang-rt-14-dev"
want=$build
[ "${1:-all}" = build ] || want="$build $test"
missing=""
for p in $want; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "installing:$missing"
sudo=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "run as root, or install sudo, or install these packages:$missing" >&2; exit 1; }
    sudo=sudo
fi
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
