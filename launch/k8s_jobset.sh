#!/usr/bin/env bash
# One run on Kubernetes: fills launch/k8s_jobset.yaml in and applies it.
set -euo pipefail

usage() {
  cat <<'END'
Usage: launch/k8s_jobset.sh --image IMAGE --claim CLAIM [OPTION]... -- PGV-ARGUMENTS...

Apply a JobSet whose pods run `pgv PGV-ARGUMENTS`; together they are one run.

  --image IMAGE         an image in which `pgv` is a command (default: $PGV_IMAGE)
  --claim CLAIM         a ReadWriteMany volume claim, mounted at /shared (default: $PGV_CLAIM)
  --name NAME           the JobSet's name (default: pgv)
  --processes N         pods (default: 1)
  --cpu N               cores of each pod (default: 4)
  --memory SIZE         memory of each pod (default: 16Gi)
  --accelerator KIND=N  of each pod, such as nvidia.com/gpu=8 (default: none)
  --restarts N          restarts after a lost or evicted pod (default: 20)
  --namespace NAME      (default: kubectl's own)
  --dry-run             print the JobSet, and apply nothing
  -h, --help            print this

  launch/k8s_jobset.sh --image registry/pgv:1 --claim runs --processes 4 \
    --accelerator nvidia.com/gpu=8 -- \
    train gc_iql data.dataset=/shared/data --workdir /shared/runs/mine

To stop a run: kubectl delete jobset NAME; it saves a checkpoint first. See docs/launch.md.
END
}

fail() {
  echo "k8s_jobset.sh: $*" >&2
  exit 2
}

# Uppercase: what the template calls them, and ${!key} reads.
# shellcheck disable=SC2034
NAME=pgv IMAGE=${PGV_IMAGE-} CLAIM=${PGV_CLAIM-} PROCESSES=1 CPU=4 MEMORY=16Gi RESTARTS=20
ACCELERATOR='' ACCELERATORS='' namespace='' dry_run=''
# shellcheck disable=SC2034
while (($#)); do
  case $1 in
    --image | --claim | --name | --processes | --cpu | --memory | --accelerator | --restarts | \
      --namespace)
      (($# > 1)) || fail "$1 needs a value."
      case $1 in
        --image) IMAGE=$2 ;;
        --claim) CLAIM=$2 ;;
        --name) NAME=$2 ;;
        --processes) PROCESSES=$2 ;;
        --cpu) CPU=$2 ;;
        --memory) MEMORY=$2 ;;
        --accelerator)
          [[ $2 =~ ^[a-z0-9./-]+=[0-9]+$ ]] || fail "--accelerator '$2' is not KIND=N."
          ACCELERATOR=${2%=*} ACCELERATORS=${2#*=}
          ;;
        --restarts) RESTARTS=$2 ;;
        --namespace) namespace=$2 ;;
      esac
      shift 2
      ;;
    --dry-run) dry_run=yes && shift ;;
    -h | --help) usage && exit ;;
    --) shift && break ;;
    *) fail "unknown option '$1'; what pgv shall do goes behind --. See --help." ;;
  esac
done
(($#)) || fail "nothing to run; write -- and pgv's arguments, such as: -- train CONFIG. See --help."
[[ $IMAGE ]] || fail "the image is missing; add --image or set PGV_IMAGE."
[[ $CLAIM ]] || fail "the volume claim is missing; add --claim or set PGV_CLAIM."
[[ $PROCESSES =~ ^[1-9][0-9]*$ ]] || fail "--processes '$PROCESSES' is not a positive number."
[[ $RESTARTS =~ ^[0-9]+$ ]] || fail "--restarts '$RESTARTS' is not a whole number."
[[ $NAME =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] || fail "--name '$NAME' is not a Kubernetes name."

ARGUMENTS='' # a list in YAML's (and JSON's) flow style; Kubernetes itself would expand $(...)
for argument in "$@"; do
  argument=${argument//\\/\\\\}
  argument=${argument//\"/\\\"}
  argument=${argument//\$(/\$\$(}
  ARGUMENTS+=", \"$argument\""
done
ARGUMENTS="[${ARGUMENTS#, }]"

template=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/k8s_jobset.yaml
filled=$(<"$template")
# shellcheck disable=SC2016  # a line of the template
[[ $ACCELERATOR ]] || filled=$(grep -vF '${ACCELERATOR}' <<<"$filled")
filled=$(grep -v '^ *#' <<<"$filled")
for key in NAME IMAGE CLAIM PROCESSES CPU MEMORY RESTARTS ACCELERATOR ACCELERATORS ARGUMENTS; do
  filled=${filled//"\${$key}"/"${!key}"}
done

if [[ $dry_run ]]; then
  printf '%s\n' "$filled"
  exit
fi
command -v kubectl >/dev/null || fail "kubectl is not here; install it and choose your cluster."
exec kubectl apply ${namespace:+"--namespace=$namespace"} -f - <<<"$filled"
