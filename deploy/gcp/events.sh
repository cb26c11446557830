#!/usr/bin/env bash
# From a bucket of Google Cloud to Shoal's API, and back: events, and who may do what.
#
#   deploy/gcp/events.sh up --project P --uploads BUCKET --results BUCKET --endpoint URL [--dry-run]
#   deploy/gcp/events.sh down --project P --uploads BUCKET --results BUCKET [--dry-run]
#
# up    notification, topic, push subscription with a signed token, dead letters, and two service
#       accounts: NAME-worker reads uploads and writes results, NAME-push only signs events.
#       What is there already is kept or brought up to date: run it as often as you like.
# down  removes all of that. Buckets and what is in them stay.
#
# --endpoint  https://your-api/events/gcs
# --name      what all names begin with (shoal)
# --dry-run   prints every command that would change something, and runs none
set -euo pipefail

# shellcheck source=../common.sh
. "$(dirname "$0")/../common.sh"
project=''
read_options project /events/gcs "$@"

topic="$name-uploads" dead="$name-uploads-dead"
worker="$name-worker@$project.iam.gserviceaccount.com"
push="$name-push@$project.iam.gserviceaccount.com"
pubsub=(gcloud pubsub --project "$project")
accounts=(gcloud iam service-accounts --project "$project")

# Also the check that gcloud works and may see the project, before anything is taken as not there.
find_number() {
  show gcloud projects describe "$project" '--format=value(projectNumber)'
  number=PROJECT_NUMBER
  [ -n "$dry" ] || number="$(gcloud projects describe "$project" '--format=value(projectNumber)')"
}

# The bucket's notifications to our topic, a name on each line.
notifications() {
  gcloud storage buckets notifications list "gs://$uploads" --format=json | python3 -c '
import json, sys
for entry in json.load(sys.stdin):
    found = entry.get("Notification Configuration", entry)
    if found["topic"].endswith("/projects/%s/topics/%s" % tuple(sys.argv[2:])):
        print("projects/_/buckets/%s/notificationConfigs/%s" % (sys.argv[1], found["id"]))
' "$uploads" "$project" "$topic"
}

up() {
  local agent="serviceAccount:service-$number@gcp-sa-pubsub.iam.gserviceaccount.com"
  local storage="serviceAccount:service-$number@gs-project-accounts.iam.gserviceaccount.com"

  run gcloud services enable storage.googleapis.com pubsub.googleapis.com --project "$project"
  local account
  for account in "$worker" "$push"; do
    have "${accounts[@]}" describe "$account" || run "${accounts[@]}" create "${account%%@*}"
  done
  run gcloud storage buckets add-iam-policy-binding "gs://$uploads" \
    --member "serviceAccount:$worker" --role roles/storage.objectViewer
  run gcloud storage buckets add-iam-policy-binding "gs://$results" \
    --member "serviceAccount:$worker" --role roles/storage.objectUser
  run "${accounts[@]}" add-iam-policy-binding "$push" \
    --member "$agent" --role roles/iam.serviceAccountTokenCreator

  local each
  for each in "$topic" "$dead"; do
    have "${pubsub[@]}" topics describe "$each" || run "${pubsub[@]}" topics create "$each"
  done
  run "${pubsub[@]}" topics add-iam-policy-binding "$topic" \
    --member "$storage" --role roles/pubsub.publisher
  run "${pubsub[@]}" topics add-iam-policy-binding "$dead" \
    --member "$agent" --role roles/pubsub.publisher

  local options=(
    --push-endpoint "$endpoint" --push-auth-token-audience "$endpoint"
    --push-auth-service-account "$push"
    --ack-deadline 60 --min-retry-delay 10s --max-retry-delay 600s
    --message-retention-duration 7d --expiration-period never
    --dead-letter-topic "$dead" --max-delivery-attempts 100
  )
  if have "${pubsub[@]}" subscriptions describe "$topic"; then
    run "${pubsub[@]}" subscriptions update "$topic" "${options[@]}"
  else
    run "${pubsub[@]}" subscriptions create "$topic" --topic "$topic" "${options[@]}"
  fi
  run "${pubsub[@]}" subscriptions add-iam-policy-binding "$topic" \
    --member "$agent" --role roles/pubsub.subscriber
  have "${pubsub[@]}" subscriptions describe "$dead" \
    || run "${pubsub[@]}" subscriptions create "$dead" --topic "$dead" --expiration-period never

  local there=''
  [ -n "$dry" ] || there="$(notifications)"
  [ -n "$there" ] || run gcloud storage buckets notifications create "gs://$uploads" \
    --topic "projects/$project/topics/$topic" --event-types OBJECT_FINALIZE \
    --payload-format json --skip-topic-setup

  cat << TEXT

Set for the API, and start it:
  SHOAL_RESULTS=gs://$results
  SHOAL_GCS_AUDIENCE=$endpoint
  SHOAL_GCS_SENDERS=$push
API and workers run as $worker.
TEXT
}

down() {
  local there=NOTIFICATIONS each
  if bucket_is_gone "$uploads"; then
    there=''
  elif [ -z "$dry" ]; then
    there="$(notifications)"
  fi
  for each in $there; do
    run gcloud storage buckets notifications delete "$each"
  done
  for each in "$topic" "$dead"; do
    gone "${pubsub[@]}" subscriptions describe "$each" \
      || run "${pubsub[@]}" subscriptions delete "$each"
    gone "${pubsub[@]}" topics describe "$each" || run "${pubsub[@]}" topics delete "$each"
  done
  # Before the account goes: a binding of an account that is gone cannot be named any more.
  if ! gone "${accounts[@]}" describe "$worker"; then
    unbind "$uploads" roles/storage.objectViewer
    unbind "$results" roles/storage.objectUser
  fi
  for each in "$worker" "$push"; do
    gone "${accounts[@]}" describe "$each" || run "${accounts[@]}" delete "$each" --quiet
  done
}

# A binding that a run before has removed is no error.
# Whether a bucket does not exist: not whether we may see it.
bucket_is_gone() {
  local said
  [ -z "$dry" ] && ! said="$(gcloud storage buckets describe "gs://$1" 2>&1)" \
    && [[ $said == *404* || $said == *"not found"* ]]
}

unbind() {
  run gcloud storage buckets remove-iam-policy-binding "gs://$1" \
    --member "serviceAccount:$worker" --role "$2" || echo "nothing of $worker's to remove from $1" >&2
}

find_number
"$action"
