# Run once, when the database server starts for the first time: a role and a database each for Airflow and MLflow, so
# that neither sees the other's tables. Passwords come by variable and are quoted by psql.
for name in airflow mlflow; do
  variable="${name^^}_DATABASE_PASSWORD"
  psql --quiet --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 --set name="$name" --set password="${!variable}" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
