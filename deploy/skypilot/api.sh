#!/usr/bin/env bash
# What api.yaml runs: Valkey with TLS, a password and an append-only file, and the API beside it.
set -euo pipefail

: "${SHOAL_RESULTS:?give --env SHOAL_RESULTS=gs://bucket/results}"

home="${SHOAL_HOME:-$HOME/shoal}"
port="${VALKEY_PORT:-6380}"
# VALKEY: another way to start a server that takes the path of its configuration.
image=valkey/valkey:8.1.9-alpine@sha256:e0eb7c480958d32bdc4357a74bdd70653ae15f2f9b4c93c4a5a9fad1dc471c84
in_docker="sudo docker run --rm --network host --user $(id -u) -v $home:$home $image valkey-server"
server="${VALKEY:-$in_docker}"
PATH="$HOME/shoal-env/bin:$PATH"

umask 077
mkdir -p "$home/valkey"
cd "$home"

# Made once, and kept: password, certificate, and what workers need of both.
if [ ! -f password ]; then
  openssl rand -hex 24 > password
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=shoal \
    -keyout valkey.key -out valkey.crt 2>/dev/null
fi
password="$(cat password)"

cat > valkey.conf <<CONF
port 0
tls-port $port
tls-cert-file $home/valkey.crt
tls-key-file $home/valkey.key
tls-auth-clients no
bind 0.0.0.0
requirepass $password
dir $home/valkey
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
CONF

# The workers trust this very certificate, and no other: it comes with the address.
pem="$(openssl x509 -in valkey.crt | od -An -v -tx1 | tr -d '\n' | sed 's/ /%/g')"
trust="ssl_check_hostname=false&ssl_ca_data=$pem"

# Both end together: on SIGTERM, and when one of them does. The API, the newer one, goes first.
# The shell itself knows what it started: a signal may come before a variable holds it.
end() {
  trap - EXIT
  local job
  for job in $(jobs -p | tac); do
    kill "$job" 2>/dev/null || true
    wait "$job" || true
  done
}
trap end EXIT
trap 'exit 143' TERM INT

$server "$home/valkey.conf" &

address="$(curl -fs --max-time 5 https://api.ipify.org || hostname -I | cut -d' ' -f1)"
echo "export SHOAL_REDIS_URL='rediss://:$password@$address:$port/0?$trust'" > worker.env
echo "For the workers: $home/worker.env"

SHOAL_REDIS_URL="rediss://:$password@127.0.0.1:$port/0?$trust" SHOAL_DATA_DIR="$home/data" \
  shoal api --host 127.0.0.1 &
wait -n
