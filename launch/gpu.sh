#!/usr/bin/env bash
# One run on this machine's GPUs: all of them, or those that are named.
set -euo pipefail

usage() {
  cat <<'END'
Usage: launch/gpu.sh [OPTION]... -- PGV-ARGUMENTS...

Run `pgv PGV-ARGUMENTS` in one process, on all of this machine's GPUs.

  --gpus LIST    these GPUs only, such as 0,1 (default: all that are visible)
  --log FILE     append the output to FILE too
  --pgv COMMAND  the command that is `pgv` here (default: $PGV, else pgv)
  --dry-run      print what would run, and run nothing
  -h, --help     print this

  launch/gpu.sh --gpus 0,1 -- train gc_iql data.dataset=data/mine --workdir runs/mine

Without a usable GPU the run ends at once, rather than being slow on the CPU. See docs/launch.md.
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
  echo "gpu.sh: $*" >&2
  exit 2
}

gpus='' log='' pgv=${PGV:-pgv} dry_run=''
while (($#)); do
  case $1 in
    --gpus | --log | --pgv)
      (($# > 1)) || fail "$1 needs a value."
      case $1 in
        --gpus)
          [[ $2 =~ ^[A-Za-z0-9-]+(,[A-Za-z0-9-]+)*$ ]] || fail "--gpus '$2' is not a list such as 0,1."
          gpus=$2
          ;;
        --log) log=$2 ;;
        --pgv) pgv=$2 ;;
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

read -ra command <<<"$pgv"
run=(env JAX_PLATFORMS=cuda)
[[ -z $gpus ]] || run+=("CUDA_VISIBLE_DEVICES=$gpus")
run+=("${command[@]}" "$@")

if [[ $dry_run ]]; then
  show "${run[@]}"
  [[ -z $log ]] || printf '2>&1 | tee -a %s' "$(show "$log")"
  echo
  exit
fi
type -P -- "${command[0]-}" >/dev/null ||
  fail "there is no program '${command[0]-}' here; name pgv by its path, such as: --pgv .venv/bin/pgv"
if [[ $log ]]; then
  mkdir -p -- "$(dirname -- "$log")"
  # tee survives the Ctrl-C that is meant for pgv, to write its last words.
  exec > >(trap '' INT TERM && exec tee -a -- "$log") 2>&1
fi
# In the place of this shell, so that a signal to it is one to pgv.
exec "${run[@]}"
