# shellcheck shell=bash
# What the events.sh of every cloud have in common: they source this file, and read_options.

die() { echo "$0: $1" >&2; exit 2; }
show() { printf '+'; printf ' %q' "$@"; echo; }
run() { show "$@"; [ -n "$dry" ] || "$@" > /dev/null; }
have() { [ -z "$dry" ] && "$@" > /dev/null 2>&1; }  # a dry run creates all, as if nothing were there
gone() { [ -z "$dry" ] && ! "$@" > /dev/null 2>&1; }  # and removes all

# shellcheck disable=SC2034  # read by those who source this
action=help name=shoal uploads='' results='' endpoint='' dry=''

# read_options PLACE ROUTE ARGUMENT...
# Sets the variables above and the one named PLACE, an option of this cloud's own; ROUTE is what the
# endpoint must end in. Without an action it prints the comment that the script begins with.
read_options() {
  local place="$1" route="$2" each
  shift 2
  if [ $# -gt 0 ]; then action="$1"; shift; fi
  while [ $# -gt 0 ]; do
    case "$1" in
      "--$place" | --uploads | --results | --endpoint | --name)
        [ $# -ge 2 ] || die "$1 needs a value"
        printf -v "${1#--}" %s "$2"
        shift 2 ;;
      --dry-run) dry=1; shift ;;
      *) die "unknown option: $1" ;;
    esac
  done

  case "$action" in
    up | down) ;;
    help | --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p;}' "$0"; exit 0 ;;
    *) die "up or down, not $action" ;;
  esac
  for each in "$place" uploads results; do
    [ -n "${!each}" ] || die "--$each is missing"
  done
  if [ "$action" = up ]; then
    case "$endpoint" in
      https://*"$route") ;;
      *) die "--endpoint is the API's address, https://...$route" ;;
    esac
  fi
}
