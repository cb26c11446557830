#!/usr/bin/env bash
# A base image where no registry can be reached: this machine's Debian, minimal, with Redis and a
# copy of its Python 3.12. For 'make images' only.
#
#   deploy/standin.sh ENGINE NAME
#
# Needs root and debootstrap. PYTHON312 is the Python, unless it is on the PATH.
set -euo pipefail

engine=$1 name=$2
python=$("${PYTHON312:-python3.12}" -c 'import sys; print(sys.base_prefix)')
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# The Debian packages of the libraries that Python's modules need, but for Tk's.
libraries=$(find "$python/lib/python3.12/lib-dynload" -name '*.so' ! -name '_tkinter*' -exec ldd {} + |
  awk '$3 ~ /^\// {print $3}' | sort -u | xargs realpath)
# shellcheck disable=SC2086  # many paths
packages=$({ dpkg -S $libraries 2>/dev/null || true; } | cut -d: -f1 | sort -u | paste -sd,)

# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
debootstrap --variant=minbase --include="ca-certificates,redis-server,$packages" "$suite" "$root" >/dev/null
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
# As in the images of Debian and Ubuntu: apt keeps neither archives nor caches.
cat > "$root/etc/apt/apt.conf.d/docker-clean" <<'C'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
C

tar -C "$python" --exclude=__pycache__ --exclude=lib/python3.12/test --exclude='*.a' \
  -c bin include lib | tar -C "$root/usr/local" -x
grep -rlI "^#!$python/" "$root/usr/local/bin" | xargs sed -i "1s#$python#/usr/local#"
chroot "$root" ldconfig
tar -C "$root" -c . | "$engine" import - "$name" >/dev/null
