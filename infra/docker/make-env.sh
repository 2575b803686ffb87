#!/bin/sh
# Writes .env, which docker-compose.yml needs: random credentials, readable by their owner alone.
#
# What is there already stays as it is, so the command may be repeated: a later version of ganlib adds what it needs.
set -eu
umask 077
file=${1:-.env}

random() {  # $1 bytes as hexadecimal digits
    od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'
}

add() {  # name, value
    grep -q "^$1=" "$file" || printf '%s=%s\n' "$1" "$2" >> "$file"
}

if [ ! -e "$file" ]; then
    printf '# Credentials of the compose cluster, made by `make env`. Keep this file to yourself.\n' > "$file"
fi
chmod 600 "$file"
# A last line without its end would take the first addition's text.
[ -z "$(tail -c 1 "$file")" ] || echo >> "$file"
add POSTGRES_PASSWORD "$(random 24)"
add GANLIB_S3_ACCESS_KEY_ID "$(random 10)"
add GANLIB_S3_SECRET_ACCESS_KEY "$(random 24)"
add GANLIB_S3_INTERNAL_KEY "$(random 32)"
add GANLIB_MLFLOW_USERNAME ganlib
add GANLIB_MLFLOW_PASSWORD "$(random 24)"
add MLFLOW_FLASK_SERVER_SECRET_KEY "$(random 32)"
add GANLIB_PREFECT_AUTH "ganlib:$(random 24)"
add GANLIB_RAY_TOKEN "$(random 32)"
add REDIS_PASSWORD "$(random 24)"
# Where this machine's own commands find the cluster, in a shell that has read this file; compose does not use them.
add GANLIB_S3_ENDPOINT_URL 'http://127.0.0.1:${GANLIB_S3_PORT:-8333}'
add GANLIB_MLFLOW_URI 'http://127.0.0.1:${GANLIB_MLFLOW_PORT:-5000}'
add GANLIB_PREFECT_API_URL 'http://127.0.0.1:${GANLIB_PREFECT_PORT:-4200}/api'
add GANLIB_RAY_ADDRESS 'http://127.0.0.1:${GANLIB_RAY_PORT:-8265}'
echo "$file holds the cluster's credentials; docker compose reads it by itself"
