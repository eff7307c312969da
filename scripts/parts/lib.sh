# Shared by the scripts of this folder: where the slow parts are kept, and how two builds of one part keep apart.
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
