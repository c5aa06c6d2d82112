#!/usr/bin/env bash
# 1,200,000 connections on one fanfare process, load and gateway on this machine: a hold with PINGs and broadcasts, then
# a storm. Needs root, 24 GiB and about half an hour; runs in a network namespace of its own, because there the kernel's
# table of connections can have a size that fits (at boot: thash_entries=4194304). What it sets outside is set back.
#
#   bench/million.sh [idle|storm|both|broadcast] [further arguments of fanfare-bench]
#
# `broadcast`: nothing but broadcasts, no PINGs, so that the gateway makes as many sends as the floor.
set -euo pipefail
cd "$(dirname "$0")/.."

connections=${CONNECTIONS:-1200000}
# File tables of 20,000 files are common; a shard and a receiver thread have one each.
shards=${SHARDS:-64}

if [ "${1:-}" != --inside ]; then
    [ "$(id -u)" -eq 0 ] || { echo 'million.sh: only root can raise tcp_mem and make a network namespace' >&2; exit 1; }
    cargo build --release --workspace
    what=${1:-both}
    [ $# -eq 0 ] || shift
    saved=$(sysctl -e net.ipv4.tcp_mem net.ipv4.tcp_child_ehash_entries)
    # shellcheck disable=SC2064 # the values of now
    trap "printf '%s\n' '$saved' | sysctl -q -p -" EXIT
    sysctl -qw net.ipv4.tcp_mem='1048576 2097152 3145728' net.ipv4.tcp_child_ehash_entries=4194304
    unshare --net "$0" --inside "$what" "$@"
    exit
fi

shift
what=$1
shift
ip link set lo up
sysctl -qw net.core.somaxconn=65535 net.ipv4.tcp_max_syn_backlog=65535 net.ipv4.ip_local_port_range='1024 65535'

bench() {
    local run=$1
    shift
    # Each device PINGs once a minute; silence is cut at two and a half, as go-push does it at one to two.
    FANFARE_CLIENTS_LIVENESS_S=${liveness_s:-150} target/release/fanfare-bench "$run" --gateway target/release/fanfare --gateway-arg --shards --gateway-arg "$shards" \
        --connections "$connections" --results bench/results --name "$run-$connections" "$@"
}

if [ "$what" = broadcast ]; then
    liveness_s=86400 bench idle --seconds 3 --ping-every 100000 --broadcasts 3 --floor "$@"
    exit
fi
if [ "$what" != storm ]; then
    bench idle --seconds 600 --ping-every 60 --broadcasts 3 --floor "$@"
fi
if [ "$what" != idle ]; then
    bench storm --seconds 10 --ping-every 60 --watch 60 --returning 200000 "$@"
fi
