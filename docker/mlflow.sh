#!/bin/bash
# MLflow with its own users: the settings of its login page name the database, which holds a password.
set -euo pipefail
umask 077
export MLFLOW_AUTH_CONFIG_PATH=/tmp/auth.ini
cat > "$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $MLFLOW_BACKEND_STORE_URI
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5310 --workers 1 \
    --allowed-hosts 127.0.0.1:5310,localhost:5310,mlflow:5310 \
    --serve-artifacts --artifacts-destination s3://gristmill/mlflow
