#!/usr/bin/env bash
# One sweep under Slurm: a head and workers by srun, on every node of the job, with a token of the job's own; all end with it.
#
#   sbatch --nodes 2 --gpus-per-node 4 --exclusive clusters/slurm.sh batch-size --data DIR --runs DIR
#
# DIR is a folder that all nodes see, or a bucket. CLIBD_PYTHON names another environment's python than .venv/bin/python.
#SBATCH --job-name=clibd
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -euo pipefail
home=${SLURM_SUBMIT_DIR:-$PWD}
bin=$(dirname "${CLIBD_PYTHON:-$home/.venv/bin/python}")
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 20000)) # two jobs on one node do not meet

# The token is in a file that only you can read, and neither in arguments, which `ps` shows, nor in Slurm's environment.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$home/.clibd-token-$SLURM_JOB_ID RAY_USAGE_STATS_ENABLED=0
unset RAY_ADDRESS
(umask 077 && python3 -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")
parts=()
end() {
  for part in "${parts[@]}"; do kill -TERM "$part" 2>/dev/null || true; done
  wait || true
  rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap end EXIT

size=(--num-cpus "${SLURM_CPUS_ON_NODE:?}")
[ -z "${SLURM_GPUS_ON_NODE:-}" ] || size+=(--num-gpus "$SLURM_GPUS_ON_NODE")
on() { # one node of the job; in a shell of its own, which becomes the program, so that a signal to it arrives
  exec srun --nodes 1 --ntasks 1 --overlap --nodelist "$1" "${@:2}"
}
address=$(on "${nodes[0]}" hostname --all-ip-addresses | awk '{print $1}'):$port # by its name a host may call itself 127.0.1.1
on "${nodes[0]}" "$bin/ray" start --block --head --node-ip-address "${address%:*}" --port "$port" --dashboard-host 127.0.0.1 \
  "${size[@]}" &
parts+=($!)
until (on "${nodes[0]}" "$bin/ray" status --address "$address" >/dev/null 2>&1); do
  kill -0 "${parts[0]}" || { echo "Ray's head did not start on ${nodes[0]}; what it said is above" >&2; exit 1; }
  sleep 2
done
for node in "${nodes[@]:1}"; do
  on "$node" "$bin/ray" start --block --address "$address" "${size[@]}" &
  parts+=($!)
done

# The sweep gets Slurm's signals: it saves, and the same command goes on, as a job that is put back into the queue does by itself.
on "${nodes[0]}" "$bin/clibd-sweep" "$@" --address "$address" &
sweep=$!
trap 'kill -TERM $sweep 2>/dev/null' TERM INT
while kill -0 $sweep 2>/dev/null; do
  kill -0 "${parts[0]}" 2>/dev/null || { echo "Ray's head ended before the sweep" >&2; kill -TERM $sweep; sleep 5; }
  wait -n $sweep "${parts[0]}" || true # a trapped signal ends a `wait` early
done
code=0
wait $sweep || code=$?
exit $code
