#!/bin/sh
# Push log lines, JSON and counts with curl. Each push has a key of its own, so that it may be repeated until it is answered.
#
#   sh examples/push.sh app.log logs web1        FILE STREAM SENDER
set -eu
file=$1 stream=$2 sender=$3
url=${TOCSIN_URL:-http://127.0.0.1:8787}

push() { # content type, key; the body on standard input
    curl --silent --show-error --fail-with-body --retry 10 --retry-all-errors \
        -H "content-type: $1" -H "idempotency-key: $2" -H "authorization: Bearer ${TOCSIN_PUSH_TOKEN:-}" \
        --data-binary @- "$url/v1/items?stream=$stream&source=$sender"
    echo
}

# A file, a thousand lines at a time. The key names the content, so running this twice stores nothing twice.
parts=$(mktemp -d)
trap 'rm -r "$parts"' EXIT
split -l 1000 "$file" "$parts/"
for part in "$parts"/*; do
    push text/plain "$(sha256sum "$part" | cut -c1-32)-$(basename "$part")" < "$part"
done

# JSON: your own fields, named by `group` and `member` in the stream file.
printf '%s\n' '{"id":"a-1","text":"disk failed","host":"db1"}' '{"id":"a-2","text":"disk replaced","host":"db1"}' |
    push application/x-ndjson "json-$(date +%s)"
