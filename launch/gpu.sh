#!/usr/bin/env bash
# Train on one machine with one or several GPUs: pgv train uses every device that JAX sees.
#
#   launch/gpu.sh [--dry-run] CONFIG [KEY=VALUE ...] [--workdir DIR]
#
# GPUS=0,1 restricts it to some; PGV names another pgv. Interrupted (Ctrl-C, SIGTERM), the run saves a
# checkpoint and the same command continues, also on another number of GPUs.
set -euo pipefail

dry_run=
if [ "${1:-}" = "--dry-run" ]; then
  dry_run=yes
  shift
fi
if [ $# -eq 0 ] || [ "$1" = "-h" ] || [ "$1" = "--help" ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0"
  exit 0
fi

command=("${PGV:-pgv}" train "$@")
[ -z "${GPUS:-}" ] || export CUDA_VISIBLE_DEVICES="$GPUS"
if [ -n "$dry_run" ]; then
  echo "${GPUS:+CUDA_VISIBLE_DEVICES=$GPUS }${command[*]}"
  exit 0
fi
exec "${command[@]}"
