#!/usr/bin/env bash
# Three machines in network namespaces, from the package to a serving cluster behind HAProxy; then one is lost and replaced, one upgraded,
# and the cluster is backed up and restored elsewhere. Needs root, iproute2, haproxy, openssh-client, dpkg, openssl. Touches nothing outside its
# namespaces and folder, and takes both away when it ends.
#
#   three-machines.sh PACKAGE.deb|BINARY
set -euo pipefail
package=$(realpath "${1:?usage: three-machines.sh PACKAGE.deb|BINARY}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/three-machines-XXXXXX")
chmod 755 "$work"
tag=fl$$
started=$(date +%s)
say() { printf '\n[%3d s] %s\n' $(($(date +%s) - started)) "$*"; }

cleanup() {
  set +e
  for pid in "$work"/*/pid; do [ -e "$pid" ] && kill -9 "$(cat "$pid")" 2>/dev/null; done
  for ns in $(ip netns list | awk '{print $1}' | grep "^$tag-"); do ip netns delete "$ns"; done
  [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT

# A LAN: a bridge in a namespace of its own, with a cable to each machine. 10.77.0.0/24 is seen by nobody else.
ip netns add $tag-lan
ip -n $tag-lan link add lan type bridge
ip -n $tag-lan link set lan up
machine() { # NAME NUMBER
  ip netns add "$tag-$1"
  ip -n $tag-lan link add "to-$1" type veth peer name eth0 netns "$tag-$1"
  ip -n $tag-lan link set "to-$1" master lan up
  ip -n "$tag-$1" addr add "10.77.0.$2/24" dev eth0
  ip -n "$tag-$1" link set eth0 up
  ip -n "$tag-$1" link set lo up
  mkdir -p "$work/$1"
}
on() { ip netns exec "$tag-$1" "${@:2}"; }

install_on() { # MACHINE: what `apt install` would do, into the machine's folder
  case $package in
    *.deb) dpkg-deb -x "$package" "$work/$1/root" ;;
    *) install -D "$package" "$work/$1/root/usr/bin/flotilla" ;;
  esac
}
configure() { # MACHINE NUMBER
  cat >"$work/$1/flotilla.toml" <<TOML
[node]
name = "$1"
data = "$work/$1/data"
[peers]
listen = "10.77.0.$2:8082"
[sftp]
listen = [{ address = "10.77.0.$2:2022", proxy_protocol = "required" }]
trusted_proxies = ["10.77.0.10"]
[admin]
listen = "10.77.0.$2:8080"
[admin.tls]
[health]
listen = "10.77.0.$2:8081"
[log]
file = "$work/$1/node.log"
[[storage]]
name = "files"
path = "${3:-$work/files}"
TOML
}
flotilla_on() { on "$1" "$work/$1/root/usr/bin/flotilla" "${@:2}"; }
serve_on() {
  flotilla_on "$1" config check --config "$work/$1/flotilla.toml"
  ip netns exec "$tag-$1" "$work/$1/root/usr/bin/flotilla" serve --config "$work/$1/flotilla.toml" >"$work/$1/out" 2>&1 &
  echo $! >"$work/$1/pid"
}
wait_for() { # SECONDS WHAT COMMAND...
  local left=$(($1 * 5)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    if [ $left -le 0 ]; then echo "waited in vain: $what" >&2; tail -n 5 "$work"/*/node.log >&2; exit 1; fi
    sleep 0.2
  done
}
ready() { on "$1" bash -c "exec 3<>/dev/tcp/10.77.0.$2/8081; printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3; head -1 <&3 | grep -q ' 200 '"; }
admin() { # the operator's machine
  FLOTILLA_ENDPOINT=${ENDPOINT:-https://10.77.0.1:8080,https://10.77.0.2:8080,https://10.77.0.3:8080} FLOTILLA_CA_FILE=${CA:-$work/ca.pem} \
    on operator "$work/sftp1/root/usr/bin/flotilla" --token-file "${TOKEN:-$work/admin.token}" "$@"
}
voters() { [ "$(admin -o json cluster status | grep -cE '"role": "(leader|voter)"')" = "$1" ]; }
sftp_batch() { # COMMANDS, through the balancer
  printf '%s\n' "$@" | on operator sftp -q -b - -P 22 -i "$work/alice" -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new \
    -o UserKnownHostsFile="$work/known_hosts" "alice@${TARGET:-10.77.0.10}" >/dev/null
}

mkdir "$work/files"
say "three machines, a balancer, an operator"
machine sftp1 1; machine sftp2 2; machine sftp3 3; machine balancer 10; machine operator 20
for n in 1 2 3; do install_on sftp$n; configure sftp$n $n; done

say "the first machine makes the cluster"
flotilla_on sftp1 init --config "$work/sftp1/flotilla.toml" --token-out "$work/admin.token"
cp "$work/sftp1/data/identity/ca.pem" "$work/ca.pem"
serve_on sftp1
wait_for 30 "the first node is ready" ready sftp1 1

say "the others join"
join() { # MACHINE NUMBER
  flotilla_on "$1" join --config "$work/$1/flotilla.toml" "$(admin cluster token)"
  serve_on "$1"
  wait_for 30 "$1 is ready" ready "$1" "$2"
}
join sftp2 2
join sftp3 3
wait_for 30 "three voters" voters 3

say "a balancer and a user"
FLOTILLA_LB_SOCKET=$work/haproxy.sock FLOTILLA_NODE1=10.77.0.1:2022 FLOTILLA_NODE2=10.77.0.2:2022 FLOTILLA_NODE3=10.77.0.3:2022 \
  ip netns exec $tag-balancer haproxy -db -f "$here/../deploy/haproxy/haproxy.cfg" >"$work/balancer/out" 2>&1 &
echo $! >"$work/balancer/pid"
ssh-keygen -q -t ed25519 -N '' -f "$work/alice"
admin user add alice --key-file "$work/alice.pub" --no-password --max-sessions 2 --quota-size 10M
head -c 3000000 /dev/urandom >"$work/one.bin"
wait_for 20 "the balancer serves" sftp_batch "pwd"
sftp_batch "put $work/one.bin"
cmp "$work/one.bin" "$work/files/alice/one.bin"
admin cluster status

say "machine 3 is lost with its disk, and replaced"
kill -9 "$(cat "$work/sftp3/pid")"
rm -rf "$work/sftp3/data"
# The balancer may send one more connection to it before it notices; clients try again.
wait_for 20 "logins go on" sftp_batch "put $work/one.bin two.bin"
admin cluster remove 3
join sftp3 3
wait_for 30 "three voters again" voters 3

say "machine 2 is upgraded: drained, new program, started on the same data"
kill -TERM "$(cat "$work/sftp2/pid")"
wait_for 60 "machine 2 has drained" bash -c "! kill -0 $(cat "$work/sftp2/pid")"
wait_for 20 "logins go on" sftp_batch "get two.bin $work/while-away.bin"
install_on sftp2
serve_on sftp2
wait_for 30 "machine 2 serves again" ready sftp2 2
wait_for 30 "three voters" voters 3
cmp "$work/one.bin" "$work/while-away.bin"

say "a backup"
(umask 077; openssl rand -hex 32 >"$work/backup.key")
admin backup save "$work/state.backup" --key-file "$work/backup.key"
flotilla_on sftp1 backup inspect "$work/state.backup" --key-file "$work/backup.key"

say "the cluster is lost; it begins again on another machine, with its users, limits and host keys"
cp "$work/sftp1/data/identity/cluster.key" "$work/old-cluster.key"
for n in 1 2 3; do kill -9 "$(cat "$work/sftp$n/pid")"; done
cp -a "$work/files" "$work/files-elsewhere"
rm -f "$work/files-elsewhere/.flotilla/marker"
machine sftp4 4
install_on sftp4
configure sftp4 4 "$work/files-elsewhere"
flotilla_on sftp4 backup restore "$work/state.backup" --key-file "$work/backup.key" --old-cluster-key-file "$work/old-cluster.key" \
  --config "$work/sftp4/flotilla.toml"
serve_on sftp4
wait_for 30 "the restored node is ready" ready sftp4 4
kill -9 "$(cat "$work/balancer/pid")"
FLOTILLA_LB_SOCKET=$work/haproxy2.sock FLOTILLA_NODE1=10.77.0.4:2022 FLOTILLA_NODE2=10.77.0.2:2022 FLOTILLA_NODE3=10.77.0.3:2022 \
  ip netns exec $tag-balancer haproxy -db -f "$here/../deploy/haproxy/haproxy.cfg" >"$work/balancer/out" 2>&1 &
echo $! >"$work/balancer/pid"
wait_for 30 "the restored cluster serves" sftp_batch "get two.bin $work/restored.bin"
cmp "$work/one.bin" "$work/restored.bin"
ENDPOINT=https://10.77.0.4:8080 CA=$work/sftp4/data/identity/ca.pem admin user show alice

say "done"
