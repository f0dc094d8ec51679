#!/usr/bin/env bash
# Runs ssh-audit (PyPI) against a node and fails on anything beyond what this file names. `make ssh-audit`.
set -euo pipefail
version=3.9.0
target=${CARGO_TARGET_DIR:-target}
flotilla=${FLOTILLA_BIN:-$target/debug/flotilla}
port_offset=${PORT_OFFSET:-9300}
tool=$target/ssh-audit-$version
if [ ! -d "$tool/ssh_audit" ]; then
  echo "installing ssh-audit $version into $tool"
  python3 -m pip install --quiet --no-deps --target "$tool" "ssh-audit==$version"
fi
work=$(mktemp -d)
"$flotilla" dev --nodes 1 --port-offset "$port_offset" --dir "$work/dev" >"$work/out" 2>"$work/err" &
dev=$!
trap 'kill $dev 2>/dev/null || true; wait $dev 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 1 600); do
  grep -qx ready "$work/out" && break
  kill -0 $dev 2>/dev/null || { cat "$work/err"; exit 1; }
  sleep 0.1
done
grep -qx ready "$work/out" || { echo "the node did not become ready"; cat "$work/err"; exit 1; }
port=$((2022 + port_offset))
# Its exit status says that there are warnings; what they are is judged below.
PYTHONPATH=$tool python3 -m ssh_audit.ssh_audit -j -p "$port" 127.0.0.1 >"$work/report.json" || true
python3 - "$work/report.json" <<'PYTHON'
import json, sys

report = json.load(open(sys.argv[1]))
# Decisions, not oversights. Clients without ML-KEM exist (OpenSSH before 9.9, WinSCP, paramiko): curve25519 stays, without protection
# against quantum computers. The cluster's second host key is ECDSA for clients without ed25519.
EXPECTED = {
    ("kex", "curve25519-sha256", "warn"),
    ("kex", "curve25519-sha256@libssh.org", "warn"),
    ("key", "ecdsa-sha2-nistp256", "fail"),
    ("key", "ecdsa-sha2-nistp256", "warn"),
}
found = {
    (kind, entry["algorithm"], level)
    for kind in ("kex", "key", "enc", "mac")
    for entry in report[kind]
    for level in ("fail", "warn")
    if entry.get("notes", {}).get(level)
}
offered = {entry["algorithm"] for entry in report["kex"]}
problems = [f"unexpected: {kind} {name}: {level}" for kind, name, level in sorted(found - EXPECTED)]
problems += [f"vulnerability: {cve}" for cve in report.get("cves", [])]
# Terrapin (CVE-2023-48795): ChaCha20-Poly1305 and encrypt-then-MAC are safe only with strict key exchange.
if "kex-strict-s-v00@openssh.com" not in offered:
    problems.append("strict key exchange is not offered: open to Terrapin")
for line in problems:
    print(line)
print(f"ssh-audit: {len(found)} findings, {len(found & EXPECTED)} of them decided, {len(problems)} problems")
sys.exit(1 if problems else 0)
PYTHON
