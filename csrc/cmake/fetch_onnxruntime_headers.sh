#!/bin/sh
# Usage: fetch_onnxruntime_headers.sh DESTINATION
# Puts ONNX Runtime's C API headers (MIT) into DESTINATION/include/onnxruntime, from Debian's libonnxruntime-dev
# of a release that has API 23 or newer. Nothing is installed: a private package list is read from the mirror
# that this machine already uses, apt checks signature and hash, and the package is only unpacked.
set -eu

release=forky
destination=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for tool in apt-get dpkg; do
  command -v "$tool" >/dev/null || { echo "no $tool here: this is not a Debian system" >&2; exit 1; }
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || { echo "no Debian keyring at $keyring (package debian-archive-keyring)" >&2; exit 1; }

# The indexes need not have been downloaded: indextargets only reads the configuration.
uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(SUITE)' 'Created-By: Packages' |
  grep -v security | awk '{print $1}' | sort -u | head -n 1)
[ -n "$uri" ] || { echo "apt has no Debian mirror configured" >&2; exit 1; }

mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/etc"
echo "deb [signed-by=$keyring] $uri $release main" >"$work/etc/sources.list"
set -- -o Dir::Etc::SourceList="$work/etc/sources.list" -o Dir::Etc::SourceParts=/dev/null \
  -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Acquire::Languages=none \
  -o APT::Sandbox::User=root -o Debug::NoLocking=1
apt-get -qq "$@" update
(cd "$work" && apt-get -qq "$@" download libonnxruntime-dev)
dpkg -x "$work"/libonnxruntime-dev_*.deb "$work/unpacked"
mkdir -p "$destination/include"
rm -rf "$destination/include/onnxruntime"
cp -r "$work/unpacked/usr/include/onnxruntime" "$destination/include/onnxruntime"
