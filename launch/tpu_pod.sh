#!/usr/bin/env bash
# One run on all workers of a TPU pod slice, through gcloud. Creates nothing unless it is asked to.
set -euo pipefail

usage() {
  cat <<'END'
Usage: launch/tpu_pod.sh --name NAME --zone ZONE [STEP]... [OPTION]... [-- PGV-ARGUMENTS...]

Run `pgv PGV-ARGUMENTS` on every worker of the TPU VM NAME; together they are one run.
The steps, done in this order; without any of them the TPU VM must be there and set up:

  --create           create the TPU VM (it costs money until --delete); needs --type and --version
  --copy             copy this checkout's last commit to every worker
  --setup            install pgv_jax, and JAX's TPU library, on every worker
  (run)              what stands behind --: starts it, and shows its output until it ends;
                     Ctrl-C ends the showing only, and the same command shows it again
  --stop             ask the run to save a checkpoint and end
  --delete           delete the TPU VM

  --name NAME        the TPU VM's name (default: $TPU_NAME)
  --zone ZONE        its zone (default: $TPU_ZONE)
  --project ID       its project (default: gcloud's own)
  --type TYPE        accelerator type, for --create
  --version VERSION  runtime version, for --create
  --spot             with --create: cheaper, and may be taken away at any time
  --folder DIR       the checkout's folder on the workers, below the home (default: pgv_jax)
  --run NAME         the run's name, for its log and for --stop (default: train)
  --dry-run          print what would run, and run nothing
  -h, --help         print this

  launch/tpu_pod.sh --name mine --zone us-x1-a --copy --setup -- \
    train gc_iql data.dataset=/shared/data --workdir /shared/runs/mine

The dataset and --workdir must lie on a file system that all workers share. See docs/launch.md.
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
  echo "tpu_pod.sh: $*" >&2
  exit 2
}

name=${TPU_NAME-} zone=${TPU_ZONE-} project='' type='' version='' folder=pgv_jax run=train
create='' spot='' copy='' setup='' stop='' delete='' dry_run=''
while (($#)); do
  case $1 in
    --name | --zone | --project | --type | --version | --folder | --run)
      (($# > 1)) || fail "$1 needs a value."
      case $1 in
        --name) name=$2 ;;
        --zone) zone=$2 ;;
        --project) project=$2 ;;
        --type) type=$2 ;;
        --version) version=$2 ;;
        --folder) folder=$2 ;;
        --run) run=$2 ;;
      esac
      shift 2
      ;;
    --create) create=yes && shift ;;
    --spot) spot=yes && shift ;;
    --copy) copy=yes && shift ;;
    --setup) setup=yes && shift ;;
    --stop) stop=yes && shift ;;
    --delete) delete=yes && shift ;;
    --dry-run) dry_run=yes && shift ;;
    -h | --help) usage && exit ;;
    --) shift && break ;;
    *) fail "unknown option '$1'; what pgv shall do goes behind --. See --help." ;;
  esac
done
[[ $name ]] || fail "the TPU VM's name is missing; add --name or set TPU_NAME."
[[ $zone ]] || fail "the TPU VM's zone is missing; add --zone or set TPU_ZONE."
[[ -z $create || $type ]] || fail "--create needs --type, the accelerator type."
[[ -z $create || $version ]] || fail "--create needs --version, the runtime version."
[[ $folder =~ ^[A-Za-z0-9._/-]+$ ]] || fail "--folder '$folder' has odd characters."
[[ $run =~ ^[A-Za-z0-9._-]+$ ]] || fail "--run '$run' has odd characters."
[[ $create || $copy || $setup || $stop || $delete ]] || (($#)) ||
  fail "nothing to do; write -- and pgv's arguments, such as: -- train CONFIG. See --help."

do_it() {
  if [[ $dry_run ]]; then
    show "$@"
    echo
  else
    "$@"
  fi
}

where=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")
tpu=(gcloud compute tpus tpu-vm)

on_all() {
  do_it "${tpu[@]}" ssh "$name" "${where[@]}" --worker=all "--command=$1"
}

[[ $dry_run ]] || command -v gcloud >/dev/null || fail "gcloud is not here; install it and log in."

if [[ $create ]]; then
  do_it "${tpu[@]}" create "$name" "${where[@]}" "--accelerator-type=$type" \
    "--version=$version" ${spot:+--spot}
fi
if [[ $copy ]]; then
  checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  archive=${TMPDIR:-/tmp}/pgv_jax.tar.gz
  do_it git -C "$checkout" archive --format=tar.gz "--output=$archive" HEAD
  do_it "${tpu[@]}" scp "$archive" "$name:" "${where[@]}" --worker=all
  do_it rm -f "$archive"
  on_all "mkdir -p $folder && tar -xzf pgv_jax.tar.gz -C $folder"
fi
if [[ $setup ]]; then
  # JAX is the locked one, and stays: the package's extra adds the TPU library that JAX names.
  on_all "cd $folder && make install && .venv/bin/python -m pip install --quiet 'pgv-jax[tpu]'"
fi
if (($#)); then
  # The run outlives the connection. Its shell writes the status, and so ignores the --stop that
  # is meant for pgv; a second start beside a living run only shows it.
  start="trap : TERM; .venv/bin/pgv $(show "$@"); echo \$? > logs/$run.status"
  on_all "cd $folder && mkdir -p logs && \
{ kill -0 \$(cat logs/$run.pid 2>/dev/null) 2>/dev/null || { rm -f logs/$run.status; \
setsid nohup bash -c $(show "$start") >> logs/$run.log 2>&1 < /dev/null & echo \$! > logs/$run.pid; }; } && \
tail --pid=\$(cat logs/$run.pid) -n 20 -F logs/$run.log; \
exit \$(cat logs/$run.status)"
fi
if [[ $stop ]]; then
  on_all "cd $folder && kill -TERM -- -\$(cat logs/$run.pid)"
fi
if [[ $delete ]]; then
  do_it "${tpu[@]}" delete "$name" "${where[@]}"
fi
