#!/bin/bash
# Runs once, on an empty volume: a database and a user each for Prefect and MLflow; neither can open the other's.
set -euo pipefail

add_database() {
    psql --username postgres --set ON_ERROR_STOP=1 --set name="$1" --set password="$2" <<'SQL'
CREATE USER :"name" PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}

add_database prefect "$PREFECT_DB_PASSWORD"
add_database mlflow "$MLFLOW_DB_PASSWORD"
