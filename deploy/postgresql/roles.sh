#!/bin/sh
# Makes Onsale's database and its two roles, run once as a superuser (psql's usual PG… variables say where, or a
# connection string in SUPERUSER_DSN):
#   OWNER_PASSWORD=… APP_PASSWORD=… sh roles.sh
# onsale_owner owns the schema and is for `onsale migrate` alone; onsale_app, which everything else uses, reads
# and writes rows and can do nothing else.
set -eu
: "${OWNER_PASSWORD:?}" "${APP_PASSWORD:?}"
# From the environment: everybody can read a process's arguments.
psql -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d "${SUPERUSER_DSN:-postgres}" <<'SQL'
\getenv owner OWNER_PASSWORD
\getenv app APP_PASSWORD
CREATE ROLE onsale_owner LOGIN PASSWORD :'owner';
CREATE ROLE onsale_app LOGIN PASSWORD :'app';
CREATE DATABASE onsale OWNER onsale_owner;
\connect onsale
REVOKE ALL ON DATABASE onsale FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE onsale TO onsale_app;
ALTER DEFAULT PRIVILEGES FOR ROLE onsale_owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO onsale_app;
ALTER DEFAULT PRIVILEGES FOR ROLE onsale_owner GRANT USAGE, SELECT ON SEQUENCES TO onsale_app;
SQL
