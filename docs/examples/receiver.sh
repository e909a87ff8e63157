#!/bin/sh
# A receiver in the shell, as a CGI script for any web server, with openssl and what every Debian has. With busybox:
#
#   mkdir -p www/cgi-bin && cp receiver.sh www/cgi-bin/hook && chmod +x www/cgi-bin/hook
#   WEBHOOK_SECRET=… INBOX=/var/lib/inbox busybox httpd -f -p 127.0.0.1:9000 -h www
#
# and http://127.0.0.1:9000/cgi-bin/hook as the URL. INBOX is a directory. Each event is a file
# <job_id>.<sequence>.<state>.json, so the last of a job by name is where the job is, in whatever order its events came,
# and one that comes again is there already.
set -eu
export LC_ALL=C
tolerance_s=300
largest_b=16777216

answer() {
  printf 'Status: %s\r\nContent-Length: 0\r\n\r\n' "$1"
  exit 0
}

refuse() {
  printf 'refused: %s\n' "$1" >&2
  answer '401 Unauthorized'
}

hex() { od -An -v -tx1 | tr -d ' \n'; }

# The key of a secret, in hex, as HMAC takes it: at most 64 bytes, RFC 2104.
key() {
  case $1 in
    whsec_*)
      text=${1#whsec_}
      while [ $((${#text} % 4)) -ne 0 ]; do text=$text=; done
      found=$(printf %s "$text" | openssl base64 -d -A | hex)
      ;;
    *) found=$(printf %s "$1" | hex) ;;
  esac
  if [ ${#found} -gt 128 ]; then found=$(printf %s "$1" | openssl dgst -sha256 -binary | hex); fi
  printf %s "$found"
}

# The 64 bytes of key $1, each xor $2.
pad() {
  rest=$1 out='' count=0
  while [ $count -lt 64 ]; do
    byte=0
    if [ -n "$rest" ]; then
      byte=$((0x${rest%"${rest#??}"}))
      rest=${rest#??}
    fi
    byte=$((byte ^ $2))
    out="$out\\0$((byte / 64))$((byte / 8 % 8))$((byte % 8))"
    count=$((count + 1))
  done
  printf %b "$out"
}

# HMAC-SHA256 of standard input with key $1, in binary. Not `openssl dgst -hmac`: everybody on the machine could read
# the key in the list of processes.
hmac() {
  { pad "$1" 54; cat; } | openssl dgst -sha256 -binary | { pad "$1" 92; cat; } | openssl dgst -sha256 -binary
}

# Whether two texts are the same, by their hashes: the time it takes tells nothing of either.
same() { [ "$(printf %s "$1" | openssl dgst -sha256)" = "$(printf %s "$2" | openssl dgst -sha256)" ]; }

# Whether one of the signatures $1, separated by white space, is what $2 writes for one of the keys.
signed() {
  for given in $1; do
    for each in $keys; do
      if same "$given" "$("$2" "$each")"; then return 0; fi
    done
  done
  return 1
}

message() {
  printf %s "$id.$seconds."
  cat "$draft"
}
of_message() { printf 'v1,%s' "$(message | hmac "$1" | openssl base64 -A)"; }
of_body() { printf 'sha256=%s' "$(hmac "$1" <"$draft" | hex)"; }

[ "${REQUEST_METHOD-}" = POST ] || answer '405 Method Not Allowed'
case ${CONTENT_LENGTH-} in '' | *[!0-9]* | ??????????*) answer '413 Content Too Large' ;; esac
[ "$CONTENT_LENGTH" -le $largest_b ] || answer '413 Content Too Large'
id=${HTTP_WEBHOOK_ID-}
seconds=${HTTP_WEBHOOK_TIMESTAMP-}

set -f # nothing below is a pattern for names of files
draft=$(mktemp "$INBOX/.XXXXXX")
trap 'rm -f "$draft"' EXIT
head -c "$CONTENT_LENGTH" >"$draft"

# Several, separated by commas, while one is being replaced by another; a secret for this script has no white space.
keys=''
for secret in $(printf %s "$WEBHOOK_SECRET" | tr , ' '); do keys="$keys $(key "$secret")"; done

signed "${HTTP_WEBHOOK_SIGNATURE-}" of_message || refuse 'webhook-signature is wrong'
signed "$(printf %s "${HTTP_X_FOREMAN_SIGNATURE-}" | tr , ' ')" of_body || refuse 'X-Foreman-Signature is wrong'
case $seconds in '' | *[!0-9]* | ????????????*) refuse 'webhook-timestamp is not a number' ;; esac
age_s=$(($(date +%s) - seconds))
[ $age_s -le $tolerance_s ] && [ $age_s -ge -$tolerance_s ] || refuse 'it is too old, or one of the clocks is wrong'

# From here on all of it is foreman's word. The first "sequence" is the event's: what others wrote comes after it, and a
# quotation mark in a string has a backslash before it.
case $id in
  ping-*) ;;
  *)
    sequence=$(grep -o '"sequence":[0-9]*' "$draft" | head -n 1)
    name=$(printf '%s.%03d.%s.json' "${id%-*}" "${sequence#*:}" "${id##*-}")
    sync "$draft"
    # All of it at once, and not a second time.
    if ln "$draft" "$INBOX/$name" 2>/dev/null; then sync "$INBOX"; else [ -e "$INBOX/$name" ]; fi
    ;;
esac
answer '204 No Content'
