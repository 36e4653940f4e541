#!/usr/bin/env bash
# Trains on a Cloud TPU VM, of one host or a pod slice, by gcloud alone.
#
#   launch/tpu_vm.sh ACTION --name=NAME --zone=ZONE [options] -- --config=configs/lcad.py ...
#
# ACTION
#   create   makes the TPU, or reuses the one of that name
#   push     copies this repository to every worker
#   install  installs it there, and mounts the bucket
#   run      starts the training on every worker, in the background
#   logs     follows worker 0's log
#   stop     sends SIGTERM to every worker: the step is saved, `run` goes on from it
#   delete   deletes the TPU
#   all      create, push, install, run, logs
# options
#   --type=v5litepod-16  --version=v2-alpha-tpuv5-lite  --project=PROJECT  --spot
#   --bucket=BUCKET      mounted as ~/bucket on every worker; the workdir of a pod must be in it
#   --workdir=DIR        on the workers; default: ~/bucket/runs/NAME, without a bucket ~/runs/NAME
#   --dry_run            prints the commands and does nothing
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
fail() { echo "tpu_vm.sh: $1" >&2 && exit 2; }

action=${1:-}
[[ $action =~ ^(create|push|install|run|logs|stop|delete|all)$ ]] || { usage && exit 2; }
shift
name='' zone='' project='' bucket='' workdir='' type=v5litepod-16 version=v2-alpha-tpuv5-lite
spot=false
dry_run=false
while (($#)); do
    case $1 in
        --name=*) name=${1#*=} ;;
        --zone=*) zone=${1#*=} ;;
        --project=*) project=${1#*=} ;;
        --type=*) type=${1#*=} ;;
        --version=*) version=${1#*=} ;;
        --bucket=*) bucket=${1#*=} ;;
        --workdir=*) workdir=${1#*=} ;;
        --spot) spot=true ;;
        --dry_run) dry_run=true ;;
        --) shift && break ;;
        *) fail "$1 is unknown; options of the training come after --" ;;
    esac
    shift
done
[[ $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] || fail "--name is '$name'; it must be letters, digits and -"
[[ $zone ]] || fail "--zone is missing; give one such as --zone=us-west4-a"
if [[ $action =~ ^(run|all)$ ]] && (($# == 0)); then
    fail "what to train is missing; give it after --, such as -- --config=configs/lcad.py"
fi
home=$([[ $bucket ]] && echo bucket/runs || echo runs)
workdir=${workdir:-"\$HOME/$home/$name"}
place=("--zone=$zone")
[[ $project ]] && place+=("--project=$project")
tpu=(gcloud compute tpus tpu-vm)
root=$(cd "$(dirname "$0")/.." && pwd)

do_it() {
    if $dry_run; then
        printf '%q ' "$@" && echo
    else
        "$@"
    fi
}
on_workers() { do_it "${tpu[@]}" ssh "$name" "${place[@]}" "--worker=$1" "--command=$2"; }

create() {
    if ! $dry_run && "${tpu[@]}" describe "$name" "${place[@]}" >/dev/null 2>&1; then
        echo "$name exists and is used again"
        return
    fi
    local more=()
    $spot && more+=(--spot)
    do_it "${tpu[@]}" create "$name" "${place[@]}" "--accelerator-type=$type" \
        "--version=$version" ${more[@]+"${more[@]}"}
}

push() {
    local archive
    archive=$(mktemp -d)/colorjax.tar.gz
    do_it git -C "$root" archive --format=tar.gz "--output=$archive" HEAD
    do_it "${tpu[@]}" scp "$archive" "$name:colorjax.tar.gz" "${place[@]}" --worker=all
    on_workers all 'mkdir -p colorjax && tar -xzf colorjax.tar.gz -C colorjax'
}

install() {
    # shellcheck disable=SC2016  # $HOME is the worker's
    on_workers all 'python3.11 -m venv $HOME/venv && $HOME/venv/bin/pip install --quiet --editable "./colorjax[tpu]"'
    [[ $bucket ]] || return 0
    # shellcheck disable=SC2016
    on_workers all 'mkdir -p $HOME/bucket && (mountpoint -q $HOME/bucket || gcsfuse --implicit-dirs '"$(printf %q "$bucket")"' $HOME/bucket)'
}

start() {
    local arguments place_of_run
    arguments=$(printf '%q ' "$@")
    # The workers' shell gets what was given as it is, except for $HOME or ~/ at its beginning.
    case $workdir in
        \$HOME/*) place_of_run=\"\$HOME\"/$(printf %q "${workdir#\$HOME/}") ;;
        \~/*) place_of_run=\"\$HOME\"/$(printf %q "${workdir#\~/}") ;;
        *) place_of_run=$(printf %q "$workdir") ;;
    esac
    on_workers all "cd colorjax && nohup setsid sh -c 'echo \$\$ >~/colorjax.pid; exec ~/venv/bin/python -m colorjax.train --distributed=on --workdir=\"\$0\" \"\$@\"' $place_of_run $arguments >~/colorjax.log 2>&1 </dev/null &"
}

# shellcheck disable=SC2016
case $action in
    create) create ;;
    push) push ;;
    install) install ;;
    run) start "$@" ;;
    logs) on_workers 0 'tail -n 100 -F ~/colorjax.log' ;;
    stop) on_workers all 'kill -TERM $(cat ~/colorjax.pid)' ;;
    delete) do_it "${tpu[@]}" delete "$name" "${place[@]}" --quiet ;;
    all)
        create
        push
        install
        start "$@"
        on_workers 0 'tail -n 100 -F ~/colorjax.log'
        ;;
esac
