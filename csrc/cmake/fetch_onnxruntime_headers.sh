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

# Mirrors that this machine is configured with, Debian's first. Without release info, since a fresh machine has not
# downloaded any index yet and apt then lists nothing; the answer is the same otherwise.
uris=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' |
  grep -v security | sort -u | awk '/\/debian\/?$/ {print; next} {rest = rest $0 "\n"} END {printf "%s", rest}')
[ -n "$uris" ] || { echo "apt has no mirror configured" >&2; exit 1; }

mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/etc"
set -- -o Dir::Etc::SourceList="$work/etc/sources.list" -o Dir::Etc::SourceParts=/dev/null \
  -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Acquire::Languages=none \
  -o APT::Sandbox::User=root -o Debug::NoLocking=1
for uri in $uris; do  # other vendors' mirrors have no such release, and apt says so
  echo "deb [signed-by=$keyring] $uri $release main" >"$work/etc/sources.list"
  if apt-get -qq "$@" update && (cd "$work" && apt-get -qq "$@" download libonnxruntime-dev); then break; fi
done
set -- "$work"/libonnxruntime-dev_*.deb
[ -e "$1" ] || { echo "no configured mirror has libonnxruntime-dev of $release" >&2; exit 1; }
dpkg -x "$1" "$work/unpacked"
mkdir -p "$destination/include"
# Complete before it has its name: two builds may fetch at once.
staged=$(mktemp -d "$destination/include/fetch.XXXXXX")
cp -r "$work/unpacked/usr/include/onnxruntime" "$staged/onnxruntime"
rm -rf "$destination/include/onnxruntime"
mv -T "$staged/onnxruntime" "$destination/include/onnxruntime" 2>/dev/null || [ -e "$destination/include/onnxruntime" ]
rm -rf "$staged"
