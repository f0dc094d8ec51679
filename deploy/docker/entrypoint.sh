#!/bin/sh
# Makes this container a node at its first start, then serves.
#
#   FLOTILLA_FIRST=1                 the one node that makes the cluster
#   FLOTILLA_JOIN_TOKEN_FILE=FILE    the others: waits up to FLOTILLA_JOIN_WAIT seconds (300) for a token to be there
#
# `serve` is the default; anything else is run as `flotilla …`. FLOTILLA_PROGRAM is for tests outside a container.
set -eu
flotilla=${FLOTILLA_PROGRAM:-/usr/bin/flotilla}
config=${FLOTILLA_CONFIG:-/etc/flotilla/flotilla.toml}
data=${FLOTILLA_NODE__DATA:-/var/lib/flotilla}

if [ "${1:-serve}" != serve ]; then
	exec "$flotilla" "$@"
fi

# `init` and `join` give this folder its name when all of it is written.
if [ ! -d "$data/identity" ]; then
	if [ "${FLOTILLA_FIRST:-}" = 1 ]; then
		"$flotilla" init --config "$config"
	else
		token=${FLOTILLA_JOIN_TOKEN_FILE:?needed at the first start: FLOTILLA_JOIN_TOKEN_FILE, or FLOTILLA_FIRST=1 on one node}
		left=${FLOTILLA_JOIN_WAIT:-300}
		while [ ! -s "$token" ]; do
			left=$((left - 1))
			if [ "$left" -le 0 ]; then
				echo "no join token in $token" >&2
				exit 1
			fi
			sleep 1
		done
		"$flotilla" join --config "$config" "$(cat "$token")"
	fi
fi
exec "$flotilla" serve --config "$config"
