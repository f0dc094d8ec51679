#!/usr/bin/env bash
# Builds flotilla_VERSION_ARCH.deb from a release binary.
#
#   build.sh BINARY [OUTPUT-FOLDER]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$here/../..
binary=${1:?usage: build.sh BINARY [OUTPUT-FOLDER]}
out=${2:-.}
version=$(sed -nE '/^\[workspace\.package\]/,/^\[/s/^version = "(.*)"$/\1/p' "$top/Cargo.toml")
arch=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
doc=$root/usr/share/doc/flotilla

install -D -m 755 "$binary" "$root/usr/bin/flotilla"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/flotilla"
install -D -m 644 "$here/../systemd/flotilla.service" "$root/usr/lib/systemd/system/flotilla.service"
install -D -m 644 "$here/../logrotate/flotilla" "$root/etc/logrotate.d/flotilla"
install -D -m 644 "$here/flotilla.toml" "$doc/examples/flotilla.toml"
install -D -m 644 "$here/../haproxy/haproxy.cfg" "$doc/examples/haproxy.cfg"
install -D -m 644 "$here/../prometheus/flotilla.rules.yml" "$doc/examples/flotilla.rules.yml"
install -D -m 644 "$here/../grafana/flotilla.json" "$doc/examples/grafana-flotilla.json"
install -D -m 644 "$here/copyright" "$doc/copyright"
install -m 644 "$top"/docs/*.md "$doc/"
date=$(date -R -d "@${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || date +%s)}")
printf 'flotilla (%s) stable; urgency=medium\n\n  * See /usr/share/doc/flotilla for what is new.\n\n -- The Flotilla authors <flotilla@flotilla.invalid>  %s\n' \
  "$version" "$date" | gzip -9n >"$doc/changelog.gz"
# What the program itself can write.
if "$binary" man --help >/dev/null 2>&1; then
  install -d "$root/usr/share/man/man1"
  "$binary" man "$root/usr/share/man/man1" >/dev/null
  gzip -9n "$root"/usr/share/man/man1/*.1
fi
if "$binary" completions --help >/dev/null 2>&1; then
  install -d "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
  "$binary" completions bash >"$root/usr/share/bash-completion/completions/flotilla"
  "$binary" completions zsh >"$root/usr/share/zsh/vendor-completions/_flotilla"
  "$binary" completions fish >"$root/usr/share/fish/vendor_completions.d/flotilla.fish"
fi

install -d "$root/DEBIAN"
libc=$(objdump -T "$binary" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
cat >"$root/DEBIAN/control" <<CONTROL
Package: flotilla
Version: $version
Architecture: $arch
Maintainer: The Flotilla authors <flotilla@flotilla.invalid>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: adduser, libc6 (>= ${libc#GLIBC_}), libgcc-s1 (>= 4.2)
Section: net
Priority: optional
Description: SFTP that survives its servers
 Flotilla serves SFTP from several nodes that replicate users, sessions and
 quota counters through a Raft log, so that any node behind a load balancer
 can take a connection while the cluster enforces the limits.
CONTROL
echo /etc/logrotate.d/flotilla >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "$here/$script" "$root/DEBIAN/$script"; done
(cd "$root" && find usr etc -type f -printf '%P\0' >/dev/null && find usr etc -type f ! -path 'etc/*' -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -type d -exec chmod 755 {} +
mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/flotilla_${version}_$arch.deb"
