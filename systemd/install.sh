#!/bin/sh
# Installs the gateway as a systemd service, or removes it. Run it again at will: what is there already stays or is
# brought up to date, and a configuration that exists is never overwritten.
set -eu

usage() {
    cat <<'TEXT'
install.sh [--binary FILE] [--root DIR] [--dry-run] [--uninstall]

  --binary FILE  the program to install, default: target/release/fanfare of this repository
  --root DIR     install below DIR instead of / (or set DESTDIR); users and units are left alone then
  --dry-run      say what would be done, do nothing
  --uninstall    remove what was installed; /etc/fanfare and the user stay

Nothing is started: `systemctl enable --now fanfare.socket fanfare.service` does that.
TEXT
}

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}
binary=$here/../target/release/fanfare
dry_run=false
uninstall=false
while [ $# -gt 0 ]; do
    case $1 in
    --root | --binary)
        [ $# -ge 2 ] || fail "$1 needs a value"
        if [ "$1" = --root ]; then root=$2; else binary=$2; fi
        shift
        ;;
    --dry-run) dry_run=true ;;
    --uninstall) uninstall=true ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        fail "unknown argument $1"
        ;;
    esac
    shift
done
root=${root%/}

run() {
    if $dry_run; then
        printf 'would run: %s\n' "$*"
    else
        "$@"
    fi
}

# put MODE SOURCE TARGET: copies when the target is missing or different.
put() {
    target=$root$3
    if [ -f "$target" ] && cmp -s "$2" "$target"; then
        return 0
    fi
    echo "install $target"
    # By way of a new file: a program that runs cannot be written into, and nobody sees half a file.
    run install -D -m "$1" "$2" "$target.new"
    run mv -f "$target.new" "$target"
}

# keep MODE SOURCE TARGET: copies only when there is none.
keep() {
    if [ -e "$root$3" ]; then
        echo "keep $root$3"
    else
        put "$1" "$2" "$3"
    fi
}

drop() {
    if [ -e "$root$1" ]; then
        echo "remove $root$1"
        run rm -f "$root$1"
    fi
}

is_live() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}

if [ -z "$root" ] && [ "$(id -u)" -ne 0 ] && ! $dry_run; then
    fail 'installing into / needs root; try sudo, --root DIR or --dry-run'
fi

if $uninstall; then
    if is_live; then
        run systemctl disable --now fanfare.socket fanfare.service || true
    fi
    drop /usr/local/bin/fanfare
    drop /etc/systemd/system/fanfare.service
    drop /etc/systemd/system/fanfare.socket
    drop /usr/lib/sysusers.d/fanfare.conf
    drop /usr/lib/tmpfiles.d/fanfare.conf
    if is_live; then run systemctl daemon-reload; fi
    exit 0
fi

[ -f "$binary" ] || fail "$binary is missing: build it with cargo build --release, or name another with --binary"
put 755 "$binary" /usr/local/bin/fanfare
put 644 "$here/fanfare.service" /etc/systemd/system/fanfare.service
put 644 "$here/fanfare.socket" /etc/systemd/system/fanfare.socket
put 644 "$here/fanfare.sysusers" /usr/lib/sysusers.d/fanfare.conf
put 644 "$here/fanfare.tmpfiles" /usr/lib/tmpfiles.d/fanfare.conf
keep 640 "$here/../fanfare.toml" /etc/fanfare/fanfare.toml
keep 640 "$here/fanfare.env" /etc/fanfare/fanfare.env
if [ -z "$root" ]; then
    run systemd-sysusers fanfare.conf
    run systemd-tmpfiles --create fanfare.conf
fi
if is_live; then run systemctl daemon-reload; fi
