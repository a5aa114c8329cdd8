#!/bin/sh
# SeaweedFS as one S3 server whose only identity is the one from the environment.
set -eu
umask 077
cat > /tmp/s3.json <<JSON
{"identities": [{"name": "gristmill", "credentials": [{"accessKey": "$S3_ACCESS_KEY", "secretKey": "$S3_SECRET_KEY"}],
                 "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
exec weed server -dir=/data -ip=s3 -ip.bind=0.0.0.0 -master.volumeSizeLimitMB=1024 -filer -s3 -s3.port=8333 -s3.config=/tmp/s3.json
