# Shared by the scripts: where the slow parts are kept, how two builds of one part keep apart, and what runs at once.
# shellcheck shell=bash

REPOSITORY=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
CACHE=${S3_BACKUP_AGENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/s3-backup-agent}
mkdir -p "$CACHE"
CACHE=$(cd -- "$CACHE" && pwd -P)
export REPOSITORY S3_BACKUP_AGENT_CACHE="$CACHE"

# Waits until no other process makes the part NAME, and keeps others waiting until this script ends.
lock_part() {
    exec {lock_fd}>"$CACHE/.$1.lock"
    flock "$lock_fd"
}

# Tells a person what takes long; standard output is for the part's path alone.
say() {
    printf '%s\n' "$*" >&2
}

# Runs FUNCTION with each ARGUMENT, all at the same time, and shows what each has printed when it has ended; fails when
# one of them did.
at_once() {
    local function=$1 folder argument failed=0
    local -A running=()
    shift
    folder=$(mktemp -d)
    # Each is a process group of its own, or it would not hear of an interrupt.
    set -m
    for argument; do
        "$function" "$argument" >"$folder/$argument" 2>&1 &
        running[$argument]=$!
    done
    set +m
    trap 'kill -INT -- "${running[@]/#/-}"; wait; rm -rf "$folder"; exit 130' INT TERM
    for argument; do
        wait "${running[$argument]}" || failed=1
        cat "$folder/$argument"
    done
    trap - INT TERM
    rm -rf "$folder"
    return "$failed"
}

# Prints this machine's architecture as Docker and Debian call it.
architecture() {
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) uname -m ;;
    esac
}

# Makes a Debian forky root file system at ROOT with PACKAGES (with commas between) and what they depend on.
make_debian() {
    local root=$1 packages=$2 script=/usr/share/debootstrap/scripts/forky
    local log=${root%.partial}.log
    command -v debootstrap >/dev/null || lock_part debootstrap
    if ! command -v debootstrap >/dev/null; then
        say "installing debootstrap"
        apt-get update -qq >&2
        apt-get install -qq -y debootstrap >&2
    fi
    # The script of an older debootstrap does not know forky; sid's fits.
    [[ -e $script ]] || ln -sf sid "$script"
    rm -rf "$root"
    debootstrap --variant=minbase --include="$packages" forky "$root" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        exit 1
    }
    rm -rf "$root"/var/cache/apt/archives/*.deb
}
