#!/usr/bin/env bash
# Queues, interrupts and packet steering of a network card for a gateway with one shard a core. Prints what it would do
# and why; --apply does it and records what was there before, --revert puts that back. See tuning/README.md.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: nic.sh [--apply | --revert] [--queues N] [--cpus LIST] [--root DIR] DEVICE

  (neither)     print each step with its reason; change nothing
  --apply       take the steps; what was there before goes to /run/fanfare-nic/DEVICE.state
  --revert      put back what that file says, and remove it
  --queues N    combined queues wanted, one a shard; by default one for each CPU of --cpus
  --cpus LIST   CPUs of the shards, such as 1-7 or 0,2,4; by default all that are online
  --root DIR    act below this directory instead of /
TEXT
}

fail() {
    printf 'nic.sh: %s\n' "$*" >&2
    exit 78
}

mode=plan queues='' cpus='' root='' device='' queue_count=''
while [ $# -gt 0 ]; do
    case $1 in
    --apply) mode=apply ;;
    --revert) mode=revert ;;
    --queues | --cpus | --root)
        [ $# -ge 2 ] || fail "$1 needs a value"
        declare "${1#--}=$2"
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    -*) fail "there is no option $1; see --help" ;;
    *)
        [ -z "$device" ] || fail "one device at a time: $device or $1"
        device=$1
        ;;
    esac
    shift
done
[ -n "$device" ] || fail 'which device? such as eth0; see --help'
[[ $device =~ ^[A-Za-z0-9._-]+$ && $device != .* ]] || fail "$device is no name of a network device"
[ -z "$queues" ] || [[ $queues =~ ^[1-9][0-9]{0,3}$ ]] || fail "--queues takes a number from 1, not $queues"
root=${root%/}

sys=$root/sys/class/net/$device
state=$root/run/fanfare-nic/$device.state
[ -d "$sys" ] || fail "there is no network device $device (looked for $sys); \`ip -brief link\` lists them"

# "0-2,5" as one number a line.
expand() {
    local part first last
    [[ $1 =~ [0-9] ]] || fail "$1 is no list of CPUs, such as 0-3,8"
    for part in ${1//,/ }; do
        [[ $part =~ ^([0-9]{1,5})(-([0-9]{1,5}))?$ ]] || fail "$1 is no list of CPUs, such as 0-3,8"
        first=$((10#${BASH_REMATCH[1]})) last=$((10#${BASH_REMATCH[3]:-$first}))
        [ "$first" -le "$last" ] || fail "$part has its larger end first"
        seq "$first" "$last"
    done
}

# A mask with the bits of these CPUs, in the kernel's groups of 32.
mask() {
    local cpu words=() at text
    for cpu in "$@"; do
        at=$((cpu / 32))
        while [ "${#words[@]}" -le "$at" ]; do words+=(0); done
        words[at]=$((words[at] | 1 << (cpu % 32)))
    done
    text=$(printf '%x' "${words[-1]}")
    for ((at = ${#words[@]} - 2; at >= 0; at--)); do
        text+=$(printf ',%08x' "${words[at]}")
    done
    printf '%s\n' "$text"
}

# Combined queues, maximal or current: `ethtool -l` prints both blocks, in this order.
combined() {
    local block=$1
    ethtool -l "$device" 2>/dev/null |
        awk -v block="$block" '/^Pre-set/ { at = 1 } /^Current/ { at = 2 } at == block && $1 == "Combined:" { print $2 }'
}

say() {
    printf '%s\n' "$*"
}

# One value into one file: printed, or done and recorded.
put() {
    local file=$1 value=$2 before
    if [ ! -e "$file" ]; then
        say "  (no $file: nothing to set)"
        return 0
    fi
    if ! before=$(cat "$file" 2>/dev/null); then
        say "  (the kernel does not tell $file: nothing to set)"
        return 0
    fi
    if [ "$before" = "$value" ]; then
        say "  already: $file = $value"
        return 0
    fi
    say "  echo $value > $file    # was $before"
    [ "$mode" = apply ] || return 0
    printf 'file %s %s\n' "${file#"$root"}" "$before" >>"$state"
    # Some drivers refuse an affinity for an interrupt that they manage themselves: the other steps still help.
    printf '%s\n' "$value" >"$file" || say "  refused: $file stays $before"
}

set_queues() {
    local now most
    say "queues: one for each shard, so that no CPU does the network work of another."
    if ! command -v ethtool >/dev/null; then
        say "  (no ethtool, which apt-get install ethtool brings; the number of queues stays)"
        return 0
    fi
    now=$(combined 2)
    most=$(combined 1)
    if [[ ! $now =~ ^[0-9]+$ || ! $most =~ ^[0-9]+$ ]]; then
        say "  ($device has no combined queues to set)"
        return 0
    fi
    if [ "$queues" -gt "$most" ]; then
        say "  ($device has at most $most; RPS below spreads what arrives over the other CPUs)"
        queues=$most
    fi
    queue_count=$queues
    if [ "$now" = "$queues" ]; then
        say "  already: $queues combined"
        return 0
    fi
    say "  ethtool -L $device combined $queues    # was $now"
    [ "$mode" = apply ] || return 0
    printf 'combined %s\n' "$now" >>"$state"
    ethtool -L "$device" combined "$queues"
}

# Interrupts of the device's queues: the number of the interrupt and that of the queue, a line each.
interrupts() {
    local irqs='' name=$device link
    # The card's own list of message interrupts, where it has one.
    if [ -d "$sys/device/msi_irqs" ]; then
        irqs=$(cd "$sys/device/msi_irqs" && printf '%s ' *)
    elif link=$(readlink "$sys/device") && [[ $link == *virtio* ]]; then
        # A virtio device's interrupts bear its name on the bus: virtio3-input.0 and virtio3-output.0 are queue 0's.
        name=${link##*/}
    fi
    awk -v irqs=" $irqs" -v name="$name" '
        $1 !~ /^[0-9]+:$/ { next }
        { irq = $1 + 0; action = $NF; sub(/@.*/, "", action) }
        irqs != " " && index(irqs, " " irq " ") == 0 { next }
        irqs == " " && action !~ "^" name "([-.]|$)" { next }
        # Not the interrupts for settings, link changes and events.
        tolower(action) !~ /rx|tx|queue|comp|input|output|blk[0-9]+$|_q[0-9]+$|[-.][0-9]+$/ || tolower(action) ~ /config|async|mbx|event/ { next }
        { queue = match(action, /[0-9]+$/) && action ~ /[-._a-z][0-9]+$/ ? substr(action, RSTART) + 0 : seen
          seen++
          print irq, queue }
    ' "$root/proc/interrupts"
}

set_interrupts() {
    local irq queue found=0
    say "interrupts: each queue's on the CPU of the shard whose devices it carries."
    if grep -qsx irqbalance "$root"/proc/[0-9]*/comm; then
        say "  warning: irqbalance runs and moves them again within 10 s: systemctl disable --now irqbalance"
    fi
    while read -r irq queue; do
        put "$root/proc/irq/$irq/smp_affinity_list" "${cpu_ids[queue % ${#cpu_ids[@]}]}"
        found=1
    done < <(interrupts)
    [ "$found" = 1 ] || say "  (no interrupts found that are $device's queues)"
}

set_steering() {
    local queue number cpu wanted entries rx=("$sys"/queues/rx-*) tx=("$sys"/queues/tx-*)
    # Before --apply the directories are those of the old number of queues.
    local rx_count=${queue_count:-${#rx[@]}} tx_count=${queue_count:-${#tx[@]}}
    if [ "$rx_count" -lt "${#cpu_ids[@]}" ]; then
        wanted=$(mask "${cpu_ids[@]}")
        say "RPS: fewer queues ($rx_count) than CPUs (${#cpu_ids[@]}): the kernel spreads what arrives by its hash."
    else
        wanted=0
        say "RPS: off. There is a queue for each CPU: the card's hash has spread what arrives already."
    fi
    for queue in "${rx[@]}"; do
        # Leading zeros and groups of the kernel's own spelling mean the same mask.
        if [ -e "$queue/rps_cpus" ] && [ "$(plain "$(cat "$queue/rps_cpus")")" = "$(plain "$wanted")" ]; then
            say "  already: $queue/rps_cpus = $wanted"
        else
            put "$queue/rps_cpus" "$wanted"
        fi
    done
    say "XPS: what a CPU sends leaves by its own queue, so that no two shards meet at a queue's lock."
    if [ "$tx_count" -lt 2 ]; then
        say "  (one queue: there is nothing to choose from)"
        return 0
    fi
    for queue in "${tx[@]}"; do
        number=${queue##*-} entries=()
        for ((cpu = number; cpu < ${#cpu_ids[@]}; cpu += tx_count)); do entries+=("${cpu_ids[cpu]}"); done
        if [ "${#entries[@]}" -gt 0 ]; then
            put "$queue/xps_cpus" "$(mask "${entries[@]}")"
        fi
    done
}

# A mask without leading zeros and separators.
plain() {
    local digits=${1//,/}
    digits=${digits#"${digits%%[!0]*}"}
    printf '%s\n' "${digits:-0}"
}

explain() {
    say "sockets: nothing to do. Each shard has a SO_REUSEPORT listener, and the kernel picks one by the connection's"
    say "  hash; of fanfare.socket's one listener it wakes a shard that waits. So a device's packets may reach another CPU"
    say "  than its shard's. Steering by CPU (SO_INCOMING_CPU, SO_ATTACH_REUSEPORT_CBPF) would join the two where queues"
    say "  and shards are as many; it would also leave a shard without devices wherever a queue has none, as on loopback."
}

revert() {
    local kind rest file value
    [ -f "$state" ] || fail "nothing to revert: $state does not exist"
    # Backwards: the number of queues was changed first, and changing it back last keeps the files of queues in place.
    while read -r kind rest; do
        case $kind in
        file)
            file=$root${rest%% *} value=${rest#* }
            say "echo $value > $file"
            printf '%s\n' "$value" >"$file" || say "refused: $file"
            ;;
        combined)
            say "ethtool -L $device combined $rest"
            ethtool -L "$device" combined "$rest"
            ;;
        *) fail "$state has a line that is not this script's: $kind" ;;
        esac
    done < <(tac "$state")
    rm "$state"
    rmdir --ignore-fail-on-non-empty "${state%/*}"
}

if [ "$mode" = revert ]; then
    revert
    exit 0
fi

online=$(cat "$root/sys/devices/system/cpu/online")
[ -n "$cpus" ] || cpus=$online
cpu_text=$(expand "$cpus")
online_text=$(expand "$online")
mapfile -t cpu_ids <<<"$cpu_text"
for cpu in "${cpu_ids[@]}"; do
    grep -qx "$cpu" <<<"$online_text" || fail "--cpus: CPU $cpu is not online, which are $online"
done
[ -n "$queues" ] || queues=${#cpu_ids[@]}

if [ "$mode" = apply ]; then
    [ ! -e "$state" ] || fail "$state exists: --revert first, or its record of what was there before would be lost"
    mkdir -p "${state%/*}"
    : >"$state"
fi
say "$device, CPUs $cpus, $queues queues wanted"
set_queues
set_interrupts
set_steering
explain
if [ "$mode" = apply ]; then
    say "done; --revert puts back what was there ($state)"
else
    say "nothing was changed; --apply takes these steps"
fi
