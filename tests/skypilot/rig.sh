#!/usr/bin/env bash
# SkyPilot's own server, offline: Slurm with one node and eight GPUs that are none is its cloud, moto
# the bucket, deploy/skypilot/api.sh the queue and the API. 'make rig' runs the scenario on it.
#
#   tests/skypilot/rig.sh install | start | stop | env
#   tests/skypilot/rig.sh passes N   # the scenario N times, each with a start and a stop; then a table
#
# Needs root and Debian's packages; all files are below $RIG, all ports on this machine.
set -euo pipefail

SRC=$(cd "$(dirname "$0")/../.." && pwd)
R=${RIG:-$SRC/build/rig}
H=$R/home       # of SkyPilot
SKY=$R/sky      # its environment: two files of it are changed
SHOAL=$SRC/.venv
export SKYPILOT_POD_MEMORY_GB_LIMIT=9 # three controllers of jobs: all of a machine's memory gives twelve
CA=/etc/ssl/certs/ca-certificates.crt
ADDRESS=$(hostname -I | cut -d' ' -f1) # not 127.0.0.1, which 'shoal pool up' refuses
export SLURM_CONF=$R/slurm.conf
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
export AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL_S3=http://127.0.0.1:15555
TOKEN=0123456789abcdef0123456789abcdef

# The "machines" need a Python 3.10: where it is.
python310() {
  local each
  for each in python3.10 "$HOME"/.pyenv/versions/3.10*/bin/python3.10; do
    "$each" -c 'import sys; print(sys.prefix + "/bin")' 2>/dev/null && return
  done
  echo 'there is no Python 3.10: set PYTHON310 to its folder' >&2
  return 1
}

install() {
  local packages="slurm-wlm munge openssh-server rsync redis-tools"
  # shellcheck disable=SC2086
  dpkg -s $packages >/dev/null 2>&1 || apt-get install -y -qq $packages
  mkdir -p "$R"/{bin,state,spool,log,run,dev,tmp,files} "$H"/{.ssh,.slurm,.sky/catalogs}
  chmod 700 "$H/.ssh"
  # The user by which SkyPilot comes through ssh: root under another name, with a home of its own.
  getent passwd skyrig >/dev/null || useradd -o -u 0 -g 0 -d "$H" -s /bin/bash -p '*' skyrig
  # usermod would find its user at work: it is root's.
  sed -i "s#^\(skyrig:[^:]*:0:0:[^:]*\):[^:]*:#\1:$H:#" /etc/passwd
  [ -f "$H/.ssh/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -f "$H/.ssh/id_ed25519"
  cp "$H/.ssh/id_ed25519.pub" "$H/.ssh/authorized_keys"
  [ -f "$R/hostkey" ] || ssh-keygen -q -t ed25519 -N '' -f "$R/hostkey"
  for i in 0 1 2 3 4 5 6 7; do [ -e "$R/dev/gpu$i" ] || mknod "$R/dev/gpu$i" c 1 3; done
  [ -x "$SKY/bin/sky" ] || {
    python3 -m venv "$SKY"
    "$SKY/bin/pip" install -q 'skypilot[slurm,kubernetes]==0.14.1' uv \
      --editable "$SRC" --editable "$SRC/deploy/autoscaler"
  }
  # SkyPilot asks 8.8.8.8 and 1.1.1.1 whether the internet is there: 'net' answers.
  sed -i "s#^_TEST_IP_LIST = .*#_TEST_IP_LIST = ['http://127.0.0.1:18888']#" \
    "$SKY"/lib/python3*/site-packages/sky/backends/backend_utils.py
  # All machines are this one: their agents would take one port, and all but one of them end and
  # begin again for ever. Each looks for its port from a number on that its machine's name makes.
  sed -i "s#find_free_port(constants.SKYLET_GRPC_PORT)#find_free_port(constants.SKYLET_GRPC_PORT + __import__('zlib').crc32(os.environ['SKY_RUNTIME_DIR'].encode()) % 5000)#" \
    "$SKY"/lib/python3*/site-packages/sky/skylet/attempt_skylet.py
  cp -r "$SRC/deploy/autoscaler/tests/catalogs/v8" "$H/.sky/catalogs/"
  files
}

# What SkyPilot, Slurm and ssh are told.
files() {
  PYTHON310=${PYTHON310:-$(python310)}
  cp "$SKY/bin/uv" "$R/bin/uv"
  cat > "$R/bin/curl" <<C
#!/bin/sh
# The machines install uv by its script on the internet: it is here already.
case "\$*" in *astral.sh/uv/install.sh*)
  echo 'mkdir -p "\$UV_INSTALL_DIR" && cp $R/bin/uv "\$UV_INSTALL_DIR/uv"'; exit 0;; esac
exec /usr/bin/curl "\$@"
C
  cat > "$R/bin/valkey-tls" <<C
#!/bin/sh
exec $R/bin/redis-server "\$1"
C
  chmod +x "$R/bin/curl" "$R/bin/valkey-tls"
  ln -sf /usr/bin/redis-check-rdb "$R/bin/redis-server"
  cat > "$R/slurm.conf" <<C
ClusterName=rig
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$R/state
SlurmdSpoolDir=$R/spool
SlurmctldPidFile=$R/run/slurmctld.pid
SlurmdPidFile=$R/run/slurmd.pid
SlurmctldLogFile=$R/log/slurmctld.log
SlurmdLogFile=$R/log/slurmd.log
MpiDefault=none
ReturnToService=2
KillWait=30
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=32 RealMemory=200000 Gres=gpu:l4:8 State=UNKNOWN
PartitionName=main Nodes=$(hostname -s) Default=YES MaxTime=7-0 DefaultTime=7-0 State=UP
C
  echo "NodeName=$(hostname -s) Name=gpu Type=l4 File=$R/dev/gpu[0-7]" > "$R/gres.conf"
  cat > "$R/sshd_config" <<C
Port 2222
ListenAddress 127.0.0.1
HostKey $R/hostkey
PidFile $R/run/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
MaxStartups 200
MaxSessions 200
Subsystem sftp internal-sftp
SetEnv PATH=$R/bin:$PYTHON310:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin SLURM_CONF=$R/slurm.conf SSL_CERT_FILE=$CA REQUESTS_CA_BUNDLE=$CA PIP_CERT=$CA UV_PYTHON_DOWNLOADS=never UV_CACHE_DIR=$R/uvcache SKYRIG=1 BASH_ENV=$R/env.sh
C
  # Login shells set PATH anew: hence this, which only the rig's ssh sees.
  echo "export PATH=$R/bin:$PYTHON310:\$PATH" > "$R/env.sh"
  echo "[ -n \"\${SKYRIG-}\" ] && . $R/env.sh" > /etc/profile.d/skyrig.sh
  cat > "$H/.slurm/config" <<C
Host rig
    HostName 127.0.0.1
    Port 2222
    User skyrig
    IdentityFile $H/.ssh/id_ed25519
    IdentitiesOnly yes
C
  cat > "$H/.sky/config.yaml" <<C
allowed_clouds: [slurm]
jobs: {controller: {consolidation_mode: true}}
slurm: {cluster_configs: {rig: {tmpdir: $R/tmp}}}
C
  "$SKY/bin/python" -m tests.skypilot.files "$SRC" "$R/files"
}

is_up() { [ -f "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# run NAME COMMAND...: in the background, with a log, unless it runs.
run() {
  local name=$1; shift
  is_up "$R/run/$name.pid" && return
  nohup "$@" > "$R/log/$name.log" 2>&1 < /dev/null &
  echo $! > "$R/run/$name.pid"
}

# What SkyPilot, the queue and the machines kept of an earlier run.
forget() {
  find "$H/.sky" -mindepth 1 -maxdepth 1 ! -name config.yaml ! -name catalogs -exec rm -rf {} +
  rm -rf "$R/shoal" "${R:?}/tmp" "$R/log"
  mkdir -p "$R/tmp" "$R/log"
}

start() {
  is_up "$R/run/api.pid" || forget
  pgrep -x munged >/dev/null || {
    command install -d -o munge -g munge -m 755 /run/munge
    runuser -u munge -- /usr/sbin/munged
  }
  is_up "$R/run/slurmctld.pid" || /usr/sbin/slurmctld
  is_up "$R/run/slurmd.pid" || /usr/sbin/slurmd
  mkdir -p /run/sshd
  is_up "$R/run/sshd.pid" || /usr/sbin/sshd -f "$R/sshd_config" -E "$R/log/sshd.log"
  for _ in $(seq 60); do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 1; done
  mkdir -p "$R/empty"
  run net python3 -m http.server --bind 127.0.0.1 --directory "$R/empty" 18888
  run moto "$SHOAL/bin/moto_server" -H 127.0.0.1 -p 15555
  HOME=$H PATH=$SKY/bin:$PATH sky api start --host 127.0.0.1
  PATH=$SHOAL/bin:$PATH SHOAL_HOME=$R/shoal VALKEY=$R/bin/valkey-tls VALKEY_PORT=16380 \
    SHOAL_API_PORT=18000 SHOAL_RESULTS=s3://bucket/results SHOAL_API_TOKENS=$TOKEN \
    run api bash "$SRC/deploy/skypilot/api.sh"
  for _ in $(seq 120); do curl -fs -o /dev/null http://127.0.0.1:18000/readyz && return; sleep 0.5; done
  echo 'the API does not answer' >&2
  return 1
}

# What a user of it has in his environment: docs/deploy-skypilot.md.
environment() {
  sed "s/@[0-9.]*:/@$ADDRESS:/" "$R/shoal/worker.env"
  cat <<C
export HOME=$H PATH=$SHOAL/bin:$SKY/bin:\$PATH SLURM_CONF=$SLURM_CONF RIG=$R
export SKYPILOT_POD_MEMORY_GB_LIMIT=$SKYPILOT_POD_MEMORY_GB_LIMIT
export SHOAL_RESULTS=s3://bucket/results HF_TOKEN=hf_none SHOAL_API_TOKEN=$TOKEN
export SHOAL_API_URL=http://127.0.0.1:18000 SHOAL_SCALE_FILES=$R/files
export SHOAL_AUTOSCALER=$SKY/bin/shoal-autoscaler
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
export AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL_S3=$AWS_ENDPOINT_URL_S3
C
}

stop() {
  HOME=$H PATH=$SKY/bin:$PATH timeout 120 sky api stop || true
  squeue --noheader --format=%i 2>/dev/null | xargs -r scancel || true
  # The API server of a busy machine may not stop in time; controllers of pool and jobs outlive it,
  # and machines their controllers.
  pkill -f "^$R/(sky|tmp)/" && sleep 5 || true
  pkill -KILL -f "^$R/(sky|tmp)/" || true
  for name in api moto net sshd slurmd slurmctld; do
    is_up "$R/run/$name.pid" && kill "$(cat "$R/run/$name.pid")" || true
    # Before the next start takes its port, and its files away.
    for _ in $(seq 120); do is_up "$R/run/$name.pid" || break; sleep 0.5; done
    rm -f "$R/run/$name.pid"
  done
}

# Stops at the first that fails, and leaves its log and session where they are.
passes() {
  local number status=0
  rm -f "$R"/figures-*.json
  for number in $(seq "$1"); do
    start
    (eval "$(environment)" && PASS=$number exec "$SKY/bin/python" -u -m tests.skypilot.run) || status=$?
    stop
    [ "$status" = 0 ] || { echo "pass $number of $1 failed" >&2; exit "$status"; }
    mv "$R/figures.json" "$R/figures-$number.json"
  done
  "$SKY/bin/python" -m tests.skypilot.table "$R"/figures-*.json
}

cd "$SRC"
case "${1:-}" in
  install | start | stop) "$1" ;;
  passes) passes "${2:-1}" ;;
  env) environment ;;
  *) sed -n '2,9p' "$0" >&2; exit 2 ;;
esac
