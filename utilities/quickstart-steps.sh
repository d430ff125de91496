# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# How quickstart.sh tells what it does.  The caller sets
#     logs     the directory for the output of each step
#     began    $SECONDS at its start
#     job      empty: the process group of the step that runs

# The width of the column of titles.
steps_width=50

say () {
    printf '%s\n' "$*"
}

die () {
    printf '\nquickstart.sh: %s\n' "$*" >&2
    exit 1
}

# Prints the name of the log of step "$1".
step_log () {
    local name=${1,,}

    name=${name%% (*}
    echo "${logs:?}/${name//[^a-z0-9]/-}.log"
}

step_begins () {
    printf '%-*s ' "$steps_width" "==> $1"
}

# step_ends TITLE STATUS BEGINNING [ADVICE...]
step_ends () {
    local title=$1 status=$2 time=$((SECONDS - $3))

    shift 3
    if test "$status" -eq 0; then
        printf '%4d s\n' "$time"
        return
    fi
    printf 'FAILED after %d s\n\n' "$time"
    tail -n 20 "$(step_log "$title")" | sed 's/^/    /'
    test $# -eq 0 || say "
$*"
    die "Step '$title' failed; its whole output is in $(step_log "$title")"
}

# step TITLE COMMAND [ADVICE...]
#
# Runs COMMAND, a function of this shell with its arguments in one word, with
# its output in a log.  If it fails, shows the log's end and ADVICE, and exits.
step () {
    local title=$1 start=$SECONDS words status
    read -r -a words <<< "$2"

    shift 2
    step_begins "$title"
    "${words[@]}" > "$(step_log "$title")" 2>&1 < /dev/null
    status=$?
    step_ends "$title" "$status" "$start" "$@"
}

# long_step TITLE COMMAND [ADVICE...]
#
# The same for what takes its time: prints a dot every three seconds.  COMMAND
# runs in a subshell, in a process group of its own.
long_step () {
    local title=$1 start=$SECONDS words status dots
    read -r -a words <<< "$2"

    shift 2
    step_begins "$title"
    set -m
    "${words[@]}" > "$(step_log "$title")" 2>&1 < /dev/null &
    job=$!
    set +m
    dots "$job" &
    dots=$!
    wait "$job" 2> /dev/null
    status=$?
    job=
    wait "$dots"
    step_ends "$title" "$status" "$start" "$@"
}

# Prints a dot now and then while process "$1" lives.
dots () {
    local ticks=0

    while kill -0 "$1" 2> /dev/null; do
        read -r -t 0.1 <> <(:)
        ticks=$((ticks + 1))
        if test $((ticks % 30)) -eq 0; then
            printf .
        fi
    done
}
