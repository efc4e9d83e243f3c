#!/bin/sh
# The steps of the Containerfile in a fresh virtual environment, for machines without a container engine: builds the
# wheel, installs it, starts the server, draws one image, stops the server. From the repository's root:
#   sh examples/container/check.sh                  installs everything (5 GB)
#   sh examples/container/check.sh SITE-PACKAGES    takes the dependencies from that folder
set -eu
work=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m pip wheel --quiet --no-deps --wheel-dir "$work/wheels" .
python3 -m venv "$work/venv"
wheel=$(ls "$work"/wheels/*.whl)
if [ $# -gt 0 ]; then
  "$work/venv/bin/pip" install --quiet --no-deps "$wheel"
  # after the wheel's own folder, so that the package is the wheel's
  echo "$1" > "$(ls -d "$work"/venv/lib/python*/site-packages)/dependencies.pth"
else
  "$work/venv/bin/pip" install --quiet "$wheel[serve]"
fi
cd "$work" # nothing of the repository is in reach
began=$(date +%s.%N)
HF_HUB_OFFLINE=1 "$work/venv/bin/xmcgan" serve --host 127.0.0.1 --port 0 > "$work/log" 2>&1 &
server=$!
until grep -q http "$work/log"; do
  kill -0 "$server" || { cat "$work/log"; exit 1; }
  sleep 0.1
done
url=$(sed -n 's/ .*//p' "$work/log" | head -1)
"$work/venv/bin/python" - "$url" "$began" <<'PYTHON'
import base64, json, sys, time, urllib.request
url, began = sys.argv[1], float(sys.argv[2])
body = json.dumps({"prompt": "two umbrellas on a beach at sunset", "seed": 0}).encode()
request = urllib.request.Request(f"{url}/v1/images/generations", body, {"Content-Type": "application/json"})
image = base64.b64decode(json.load(urllib.request.urlopen(request))["data"][0]["b64_json"])
assert image.startswith(b"\x89PNG"), image[:20]
assert b"<textarea" in urllib.request.urlopen(url).read()
print(f"started and answered an image in {time.time() - began:.1f} s")
PYTHON
awk '{print "processor time of the server:", ($14 + $15) / 100, "s"}' "/proc/$server/stat" 2>/dev/null || true
kill -TERM "$server"
wait "$server"
tail -1 "$work/log"
