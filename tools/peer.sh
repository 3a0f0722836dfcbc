#!/bin/sh
# Puts the published client, which the tests run against the server, into a virtual environment.
#   tools/peer.sh DIR VERSION       e.g. tools/peer.sh build/peer-3.8.8 3.8.8
# The companions' versions are pinned: newer ones break it.
set -eu
dir=$1 version=$2 here=$(dirname "$0")
[ -x "$dir/bin/prefect" ] && [ -e "$dir/.complete" ] && exit 0
rm -rf "$dir"
echo "installing prefect $version as a test peer"
python3 -m venv "$dir"
"$dir/bin/pip" install -q --disable-pip-version-check -c "$here/../assets/constraints-prefect-$version.txt" "prefect==$version" pytest websockets
touch "$dir/.complete"
