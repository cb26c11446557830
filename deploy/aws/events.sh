#!/usr/bin/env bash
# From a bucket of S3 to Shoal's API, and back: events by SNS, and who may do what.
#
#   deploy/aws/events.sh up --region R --uploads BUCKET --results BUCKET --endpoint URL [--dry-run]
#   deploy/aws/events.sh down --region R --uploads BUCKET --results BUCKET [--dry-run]
#
# up    notification, topic, HTTPS subscription, a queue of dead letters, and a role with an instance
#       profile, NAME-worker, that reads uploads and writes results. The bucket's other notifications
#       stay. What is there already is brought up to date: run it as often as you like.
# down  removes all of that. Buckets and what is in them stay.
#
# --endpoint  https://your-api/events/s3; the API must run, as it confirms the subscription
# --name      what all names begin with (shoal)
# --dry-run   prints every command that would change something, and runs none
set -euo pipefail

# shellcheck source=../common.sh
. "$(dirname "$0")/../common.sh"
region=''
read_options region /events/s3 "$@"

quoted() { python3 -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$1"; }

aws=(aws --region "$region")
topic_name="$name-uploads" dead_name="$name-uploads-dead" role="$name-worker"

# Names of what is made follow from the account, so that a dry run needs no more than that. It is
# also the check that aws works, before anything is taken as not there.
find_account() {
  local partition=aws
  account=ACCOUNT
  show "${aws[@]}" sts get-caller-identity --query Arn --output text
  if [ -z "$dry" ]; then
    IFS=: read -r _ partition _ _ account _ <<< \
      "$("${aws[@]}" sts get-caller-identity --query Arn --output text)"
  fi
  arn="arn:$partition"
  topic="$arn:sns:$region:$account:$topic_name"
  dead="$arn:sqs:$region:$account:$dead_name"
}

# The bucket's notifications without ours; with "with", and ours.
notifications() {
  "${aws[@]}" s3api get-bucket-notification-configuration --bucket "$uploads" --output json \
    | python3 -c '
import json, sys
name, topic, wanted = sys.argv[1:]
found = json.loads(sys.stdin.read() or "{}")
found.pop("ResponseMetadata", None)
topics = [t for t in found.pop("TopicConfigurations", []) if t.get("Id") != name]
if wanted == "with":
    topics.append({"Id": name, "TopicArn": topic, "Events": ["s3:ObjectCreated:*"]})
print(json.dumps(found | ({"TopicConfigurations": topics} if topics else {})))
' "$name" "$topic" "$1"
}

notify() {
  local wanted=NOTIFICATIONS
  [ -n "$dry" ] || wanted="$(notifications "$1")"
  run "${aws[@]}" s3api put-bucket-notification-configuration --bucket "$uploads" \
    --notification-configuration "$wanted"
}

# subscriptions == | !=: the confirmed ones of our topic to our endpoint, or to others. It is our
# topic: others are those of an earlier --endpoint.
subscriptions() {
  "${aws[@]}" sns list-subscriptions-by-topic --topic-arn "$topic" --output text \
    --query "Subscriptions[?Endpoint$1'$endpoint'].[SubscriptionArn]" | grep '^arn:' || true
}

# Whether a bucket does not exist: not whether we may see it.
bucket_is_gone() {
  local said
  [ -z "$dry" ] && ! said="$("${aws[@]}" s3api head-bucket --bucket "$1" 2>&1)" \
    && [[ $said == *404* ]]
}

queue_url() {
  "${aws[@]}" sqs get-queue-url --queue-name "$dead_name" --query QueueUrl --output text
}

up() {
  run "${aws[@]}" sns create-topic --name "$topic_name" --attributes SignatureVersion=2
  run "${aws[@]}" sns set-topic-attributes --topic-arn "$topic" --attribute-name Policy \
    --attribute-value '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sns:Publish", "Resource": "'"$topic"'", "Condition": {"StringEquals": {"aws:SourceAccount": "'"$account"'"}, "ArnLike": {"aws:SourceArn": "'"$arn:s3:::$uploads"'"}}}]}'

  local allow='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": "'"$dead"'", "Condition": {"ArnEquals": {"aws:SourceArn": "'"$topic"'"}}}]}'
  local url=QUEUE_URL
  run "${aws[@]}" sqs create-queue --queue-name "$dead_name"
  [ -n "$dry" ] || url="$(queue_url)"
  run "${aws[@]}" sqs set-queue-attributes --queue-url "$url" \
    --attributes '{"MessageRetentionPeriod": "1209600", "Policy": '"$(quoted "$allow")"'}'

  run_role

  # By itself SNS gives up within a minute; almost an hour is all that it allows.
  local redrive='{"deadLetterTargetArn": "'"$dead"'"}' there='' each
  local delivery='{"healthyRetryPolicy": {"minDelayTarget": 5, "maxDelayTarget": 300, "numRetries": 20, "numMaxDelayRetries": 8, "backoffFunction": "exponential"}}'
  [ -n "$dry" ] || there="$(subscriptions '==')"
  if [ -n "$there" ]; then
    run "${aws[@]}" sns set-subscription-attributes --subscription-arn "$there" \
      --attribute-name RedrivePolicy --attribute-value "$redrive"
    run "${aws[@]}" sns set-subscription-attributes --subscription-arn "$there" \
      --attribute-name DeliveryPolicy --attribute-value "$delivery"
  else
    run "${aws[@]}" sns subscribe --topic-arn "$topic" --protocol https \
      --notification-endpoint "$endpoint" --attributes \
      '{"RedrivePolicy": '"$(quoted "$redrive")"', "DeliveryPolicy": '"$(quoted "$delivery")"'}'
  fi
  local earlier=''
  [ -n "$dry" ] || earlier="$(subscriptions '!=')"
  for each in $earlier; do
    run "${aws[@]}" sns unsubscribe --subscription-arn "$each"
  done
  notify with

  cat << TEXT

Set for the API, and start it; if it did not run just now, run this once more to subscribe:
  SHOAL_RESULTS=s3://$results
  SHOAL_SNS_TOPICS=$topic
API and workers run with the instance profile $role.
TEXT
}

run_role() {
  have "${aws[@]}" iam get-role --role-name "$role" || run "${aws[@]}" iam create-role \
    --role-name "$role" --assume-role-policy-document \
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
  run "${aws[@]}" iam put-role-policy --role-name "$role" --policy-name shoal --policy-document \
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": "'"$arn:s3:::$uploads"'/*"}, {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"], "Resource": "'"$arn:s3:::$results"'/*"}, {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"], "Resource": ["'"$arn:s3:::$uploads"'", "'"$arn:s3:::$results"'"]}]}'
  if ! have "${aws[@]}" iam get-instance-profile --instance-profile-name "$role"; then
    run "${aws[@]}" iam create-instance-profile --instance-profile-name "$role"
    run "${aws[@]}" iam add-role-to-instance-profile --instance-profile-name "$role" \
      --role-name "$role"
  fi
}

down() {
  bucket_is_gone "$uploads" || notify without
  # Its subscriptions go with the topic.
  run "${aws[@]}" sns delete-topic --topic-arn "$topic"
  local url=QUEUE_URL
  if ! gone queue_url; then
    [ -n "$dry" ] || url="$(queue_url)"
    run "${aws[@]}" sqs delete-queue --queue-url "$url"
  fi
  if ! gone "${aws[@]}" iam get-instance-profile --instance-profile-name "$role"; then
    run "${aws[@]}" iam remove-role-from-instance-profile --instance-profile-name "$role" \
      --role-name "$role"
    run "${aws[@]}" iam delete-instance-profile --instance-profile-name "$role"
  fi
  if ! gone "${aws[@]}" iam get-role --role-name "$role"; then
    run "${aws[@]}" iam delete-role-policy --role-name "$role" --policy-name shoal
    run "${aws[@]}" iam delete-role --role-name "$role"
  fi
}

find_account
"$action"
