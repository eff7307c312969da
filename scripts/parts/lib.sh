# Shared by the scripts: the cache of the parts, its locks, and concurrent runs.
# shellcheck shell=bash

REPOSITORY=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
CACHE=${S3_BACKUP_AGENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/s3-backup-agent}
mkdir -p "$CACHE"
CACHE=$(cd -- "$CACHE" && pwd -P)
export REPOSITORY S3_BACKUP_AGENT_CACHE="$CACHE"

# Locks the build of the part NAME until this script ends.
lock_part() {
    exec {lock_fd}>"$CACHE/.$1.lock"
    flock "$lock_fd"
}

# Reports a long step on standard error; standard output is reserved for the part's path.
say() {
    printf '%s\n' "$*" >&2
}

# Runs FUNCTION with each ARGUMENT concurrently, and prints the output of each when it ends. Fails if one of them fails.
at_once() {
    local function=$1 folder argument failed=0
    local -A running=()
    shift
    folder=$(mktemp -d)
    # Each runs in its own process group; otherwise it would ignore interrupts.
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

# Prints the path of PROGRAM, which the Python package PACKAGE brings along; installs VERSION when it is missing.
install_program() {
    local package=$1 version=$2 program=$3 root=$CACHE/$1-$2 uv
    if [[ ! -x $root/bin/$program ]]; then
        uv=$("$REPOSITORY/scripts/parts/uv")
        lock_part "$package"
    fi
    if [[ ! -x $root/bin/$program ]]; then
        say "installing $package $version"
        rm -rf "$root" "$root.partial"
        "$REPOSITORY/scripts/in-python" "$uv" pip install --quiet --native-tls --no-deps \
            --target "$root.partial" "$package==$version" >&2
        mv "$root.partial" "$root"
    fi
    echo "$root/bin/$program"
}

# Creates a Debian forky root file system at ROOT with PACKAGES (with commas between) and what they depend on.
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
