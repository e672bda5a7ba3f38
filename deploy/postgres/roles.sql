-- Roles of their own for API and workers, so that neither can change the schema, the audit trail or more
-- than its work. Run as the owner of the tables, who upgrades them (`mixsd db upgrade`) and makes backups:
--   psql --single-transaction --set ON_ERROR_STOP=1 --file deploy/postgres/roles.sql mixsd
-- Run it again after each upgrade: it says what holds, whatever was there before. Then give each process a
-- user of its own:
--   CREATE ROLE api_1 LOGIN PASSWORD '…' IN ROLE mixsd_api;
--   CREATE ROLE worker_1 LOGIN PASSWORD '…' IN ROLE mixsd_worker;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['mixsd_api', 'mixsd_worker'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', name);
    END IF;
  END LOOP;
END $$;

-- Before version 15 anybody may make tables in this schema.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO mixsd_api, mixsd_worker;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, mixsd_api, mixsd_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO mixsd_api, mixsd_worker;

-- Which version the schema has, everybody may know; only an upgrade changes it.
REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM mixsd_api, mixsd_worker;

-- The trail only grows, and workers have no business there. A foreign key is checked with a lock on what
-- it points to, for which `projects` must be open to UPDATE.
REVOKE UPDATE, DELETE ON audit_entries FROM mixsd_api;
REVOKE ALL ON audit_entries FROM mixsd_worker;

-- Workers run what models wrote and read what strangers sent: they see no keys, not even digests, and make
-- no project, fact set or webhook.
REVOKE ALL ON api_keys, instance_secrets FROM mixsd_worker;
REVOKE INSERT, DELETE ON projects FROM mixsd_worker;
REVOKE INSERT, UPDATE, DELETE ON facts FROM mixsd_worker;
REVOKE INSERT, DELETE ON fact_sets, webhooks FROM mixsd_worker;
