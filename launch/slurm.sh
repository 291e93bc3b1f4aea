#!/usr/bin/env bash
# One job on a SLURM cluster: submits itself, runs one process a node (or more), and goes back to
# the queue when it was preempted, reached its time limit, or lost a process.
set -euo pipefail

usage() {
  cat <<'END'
Usage: launch/slurm.sh [OPTION]... -- PGV-ARGUMENTS...

Submit a job that runs `pgv PGV-ARGUMENTS` as one run of several processes.

  --nodes N            nodes (default: 1)
  --tasks-per-node N   processes on each node (default: 1, which uses all of the node's GPUs)
  --gpus-per-node N    GPUs on each node (default: none)
  --cpus-per-task N    cores of each process (default: the cluster's)
  --memory SIZE        memory of each node, such as 64G (default: the cluster's)
  --time LIMIT         time limit of one turn, such as 4:00:00 (default: the partition's)
  --partition NAME     (default: the cluster's)
  --account NAME       (default: yours)
  --name NAME          the job's name (default: pgv)
  --grace SECONDS      SIGTERM so long before the time limit, to save (default: 120)
  --restarts N         times that the job goes back to the queue by itself (default: 20)
  --log-dir DIR        on a file system that the nodes share (default: logs)
  --pgv COMMAND        the command that is `pgv` on a node (default: $PGV, else pgv)
  --sbatch OPTION      one more option for sbatch; may be repeated
  --dry-run            print what would be submitted and what the job would run, and do neither
  -h, --help           print this

  launch/slurm.sh --nodes 4 --gpus-per-node 8 --time 4:00:00 -- \
    train gc_iql data.dataset=/shared/data --workdir /shared/runs/mine

The dataset and --workdir must lie on a file system that all nodes share. See docs/launch.md.
END
}

show() { # words, quoted for a shell where they need it
  local word
  for word in "$@"; do
    # shellcheck disable=SC2001  # the replacement differs between versions of bash
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'$(sed "s/'/'\\\\''/g" <<<"$word")'"
    printf '%s ' "$word"
  done
}

fail() {
  echo "slurm.sh: $*" >&2
  exit 2
}

nodes=1 tasks=1 gpus='' cpus='' memory='' time='' partition='' account='' name=pgv
grace=120 restarts=20 logs=logs pgv=${PGV:-pgv} dry_run='' inside='' more=()
while (($#)); do
  case $1 in
    --nodes | --tasks-per-node | --gpus-per-node | --cpus-per-task | --memory | --time | \
      --partition | --account | --name | --grace | --restarts | --log-dir | --pgv | --sbatch)
      (($# > 1)) || fail "$1 needs a value."
      case $1 in
        --nodes) nodes=$2 ;;
        --tasks-per-node) tasks=$2 ;;
        --gpus-per-node) gpus=$2 ;;
        --cpus-per-task) cpus=$2 ;;
        --memory) memory=$2 ;;
        --time) time=$2 ;;
        --partition) partition=$2 ;;
        --account) account=$2 ;;
        --name) name=$2 ;;
        --grace) grace=$2 ;;
        --restarts) restarts=$2 ;;
        --log-dir) logs=$2 ;;
        --pgv) pgv=$2 ;;
        --sbatch) more+=("$2") ;;
      esac
      shift 2
      ;;
    --inside) inside=yes && shift ;; # the job itself, as submitted below
    --dry-run) dry_run=yes && shift ;;
    -h | --help) usage && exit ;;
    --) shift && break ;;
    *) fail "unknown option '$1'; what pgv shall do goes behind --. See --help." ;;
  esac
done
(($#)) || fail "nothing to run; write -- and pgv's arguments, such as: -- train CONFIG. See --help."
for number in "$nodes" "$tasks" "$grace" "$restarts"; do
  [[ $number =~ ^[0-9]+$ ]] || fail "'$number' is not a whole number."
done

read -ra command <<<"$pgv"
# A log of each task's own; a turn of the job appends to the turn before.
run=(srun --kill-on-bad-exit=0 --open-mode=append "--output=$logs/%x-%j-task%t.log"
  "${command[@]}" "$@")

if [[ $inside ]]; then
  echo "turn $((${SLURM_RESTART_COUNT:-0} + 1)) of job $SLURM_JOB_ID: ${run[*]}"
  status=0
  "${run[@]}" || status=$?
  case $status in
    # A process was lost; was asked to stop, and has saved; was killed by SIGKILL or SIGTERM.
    3 | 130 | 137 | 143) ;;
    *) exit "$status" ;; # done, or an error that a second turn would only repeat
  esac
  if ((${SLURM_RESTART_COUNT:-0} >= restarts)); then
    echo "slurm.sh: status $status, and $restarts restarts are used up." >&2
    exit "$status"
  fi
  echo "status $status: back to the queue, to continue from the last checkpoint"
  exec scontrol requeue "$SLURM_JOB_ID"
fi

submit=(sbatch "--job-name=$name" "--nodes=$nodes" "--ntasks-per-node=$tasks"
  --requeue --open-mode=append "--output=$logs/%x-%j.log" "--signal=TERM@$grace")
[[ -z $gpus ]] || submit+=("--gpus-per-node=$gpus")
[[ -z $cpus ]] || submit+=("--cpus-per-task=$cpus")
[[ -z $memory ]] || submit+=("--mem=$memory")
[[ -z $time ]] || submit+=("--time=$time")
[[ -z $partition ]] || submit+=("--partition=$partition")
[[ -z $account ]] || submit+=("--account=$account")
submit+=(${more[@]+"${more[@]}"} "$0" --inside --restarts "$restarts" --log-dir "$logs" --pgv "$pgv"
  -- "$@")

if [[ $dry_run ]]; then
  show "${submit[@]}"
  printf '\n# and in the job:\n# '
  show "${run[@]}"
  echo
  exit
fi
command -v sbatch >/dev/null || fail "sbatch is not here; run this on a login node of the cluster."
mkdir -p -- "$logs"
exec "${submit[@]}"
