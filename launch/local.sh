#!/usr/bin/env bash
# Trains with N processes on this machine over loopback: the rehearsal of several hosts.
#
#   launch/local.sh [--processes=2] [--devices=1] [--dry_run] -- --config=configs/lcad.py:tiny ...
#
# --devices: CPU devices that each process pretends to have. SIGTERM or Ctrl-C goes to all; when
# one process fails the others end too. Exit code: that of the first that failed; 75 means stopped
# with the state saved: the same command goes on.
set -euo pipefail

processes=2
devices=1
dry_run=false
while (($#)); do
    case $1 in
        --processes=*) processes=${1#*=} ;;
        --devices=*) devices=${1#*=} ;;
        --dry_run) dry_run=true ;;
        --) shift && break ;;
        *) echo "local.sh: $1 is unknown; options of the training come after --" >&2 && exit 2 ;;
    esac
    shift
done
if ! [[ $processes =~ ^[1-9][0-9]*$ && $devices =~ ^[1-9][0-9]*$ ]]; then
    echo "local.sh: --processes and --devices must be 1 or more" >&2
    exit 2
fi
python=${PYTHON:-python3}
port=${PORT:-$((20000 + RANDOM % 20000))}
flags="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices"

pids=()
stop() { kill -TERM "${pids[@]}" 2>/dev/null || true; }
trap stop TERM INT

for ((i = 0; i < processes; i++)); do
    command=("$python" -m colorjax.train "$@" "--coordinator=127.0.0.1:$port"
        "--num_processes=$processes" "--process_id=$i")
    if $dry_run; then
        printf 'JAX_PLATFORMS=cpu XLA_FLAGS=%q ' "${flags# }"
        printf '%q ' "${command[@]}"
        echo
    else
        JAX_PLATFORMS=cpu XLA_FLAGS="${flags# }" "${command[@]}" &
        pids+=("$!")
    fi
done

code=0
for pid in ${pids[@]+"${pids[@]}"}; do
    while :; do
        this=0
        wait "$pid" || this=$?
        # A signal interrupts `wait` while the process still saves its state.
        kill -0 "$pid" 2>/dev/null || break
    done
    if ((this != 0 && code == 0)); then
        code=$this
        stop
    fi
done
exit "$code"
