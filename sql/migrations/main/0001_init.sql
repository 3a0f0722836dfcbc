-- A workspace's records. Types are PostgreSQL's; for SQLite whole words are replaced (db/db.h).
-- Times are µs since 1970 UTC, JSON is text as it was sent, booleans are 0 or 1.
-- Few indexes, most of them partial: the pages that a commit dirties are what a run costs. Ids are UUIDv7,
-- so that all keys grow at their right end.

CREATE TABLE flow (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL UNIQUE,
    tags text NOT NULL,
    labels text
);

CREATE TABLE concurrency_limit_v2 (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    active bigint NOT NULL,
    name text NOT NULL UNIQUE,
    "limit" bigint NOT NULL,
    active_slots bigint NOT NULL,
    denied_slots bigint NOT NULL,
    slot_decay_per_second double precision NOT NULL,
    avg_slot_occupancy_seconds double precision NOT NULL
);

-- A slot that is held until `expires`, by whom; freed by its holder or, when it expires, by the repossessor.
CREATE TABLE concurrency_lease (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    expires bigint NOT NULL,
    slots bigint NOT NULL,
    limit_ids text NOT NULL,
    holder_type text,
    holder_id uuid
);
CREATE INDEX concurrency_lease_expires ON concurrency_lease (expires);
CREATE INDEX concurrency_lease_holder ON concurrency_lease (holder_id) WHERE holder_id IS NOT NULL;

CREATE TABLE work_pool (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL UNIQUE,
    description text,
    type text NOT NULL,
    base_job_template text NOT NULL,
    is_paused bigint NOT NULL,
    concurrency_limit bigint,
    storage_configuration text NOT NULL,
    default_queue_id uuid,
    status text,
    last_transitioned_status_at bigint,
    last_status_event_id uuid
);

CREATE TABLE work_queue (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL,
    description text,
    is_paused bigint NOT NULL,
    concurrency_limit bigint,
    priority bigint,
    work_pool_id uuid NOT NULL REFERENCES work_pool (id) ON DELETE CASCADE,
    filter text,
    last_polled bigint,
    status text NOT NULL,
    UNIQUE (work_pool_id, name)
);

CREATE TABLE worker (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL,
    work_pool_id uuid NOT NULL REFERENCES work_pool (id) ON DELETE CASCADE,
    last_heartbeat_time bigint,
    heartbeat_interval_seconds bigint,
    status text NOT NULL,
    UNIQUE (work_pool_id, name)
);

CREATE TABLE block_type (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL,
    slug text NOT NULL UNIQUE,
    logo_url text,
    documentation_url text,
    description text,
    code_example text,
    is_protected bigint NOT NULL
);

CREATE TABLE block_schema (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    checksum text NOT NULL,
    fields text NOT NULL,
    block_type_id uuid NOT NULL REFERENCES block_type (id) ON DELETE CASCADE,
    capabilities text NOT NULL,
    version text NOT NULL,
    UNIQUE (checksum, version)
);

CREATE TABLE block_document (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text,
    block_schema_id uuid NOT NULL REFERENCES block_schema (id) ON DELETE CASCADE,
    block_type_id uuid NOT NULL REFERENCES block_type (id) ON DELETE CASCADE,
    is_anonymous bigint NOT NULL,
    sealed text NOT NULL,
    UNIQUE (block_type_id, name)
);

-- `name` of the parent document's data is the referenced document.
CREATE TABLE block_document_reference (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL,
    parent_block_document_id uuid NOT NULL REFERENCES block_document (id) ON DELETE CASCADE,
    reference_block_document_id uuid NOT NULL REFERENCES block_document (id) ON DELETE CASCADE,
    CHECK (parent_block_document_id <> reference_block_document_id)
);
CREATE INDEX block_document_reference_parent ON block_document_reference (parent_block_document_id);
CREATE INDEX block_document_reference_target ON block_document_reference (reference_block_document_id);

CREATE TABLE deployment (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL,
    version text,
    description text,
    flow_id uuid NOT NULL REFERENCES flow (id) ON DELETE CASCADE,
    paused bigint NOT NULL,
    concurrency_options text,
    parameters text NOT NULL,
    tags text NOT NULL,
    labels text,
    work_queue_name text,
    work_queue_id uuid REFERENCES work_queue (id) ON DELETE SET NULL,
    last_polled bigint,
    parameter_openapi_schema text,
    path text,
    pull_steps text,
    entrypoint text,
    storage_document_id uuid,
    infrastructure_document_id uuid,
    created_by text,
    updated_by text,
    status text NOT NULL,
    enforce_parameter_schema bigint NOT NULL,
    job_variables text NOT NULL,
    concurrency_limit_id uuid REFERENCES concurrency_limit_v2 (id) ON DELETE SET NULL,
    UNIQUE (flow_id, name)
);
CREATE INDEX deployment_work_queue ON deployment (work_queue_id) WHERE work_queue_id IS NOT NULL;
-- A queue that is polled makes its deployments ready; while it is, its own last_polled is theirs too.
CREATE INDEX deployment_not_ready ON deployment (work_queue_id) WHERE status = 'NOT_READY';
CREATE INDEX deployment_ready ON deployment (work_queue_id, last_polled) WHERE status = 'READY';

-- next_due: when the scheduler must look at the schedule again; null where it has nothing more to give
-- or must not (inactive, deployment paused). made_to: its last date that has a run, since it was armed.
CREATE TABLE deployment_schedule (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    deployment_id uuid NOT NULL REFERENCES deployment (id) ON DELETE CASCADE,
    schedule text NOT NULL,
    active bigint NOT NULL,
    max_scheduled_runs bigint,
    parameters text NOT NULL,
    slug text,
    next_due bigint,
    made_to bigint,
    UNIQUE (deployment_id, slug)
);
CREATE INDEX deployment_schedule_due ON deployment_schedule (next_due) WHERE next_due IS NOT NULL;

CREATE TABLE flow_run (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL,
    flow_id uuid NOT NULL REFERENCES flow (id) ON DELETE CASCADE,
    state_id uuid,
    deployment_id uuid,
    deployment_version text,
    work_queue_id uuid,
    work_queue_name text,
    flow_version text,
    parameters text NOT NULL,
    idempotency_key text,
    context text NOT NULL,
    empirical_policy text NOT NULL,
    tags text NOT NULL,
    labels text,
    parent_task_run_id uuid,
    state_type text,
    state_name text,
    state_timestamp bigint,
    run_count bigint NOT NULL,
    expected_start_time bigint,
    next_scheduled_start_time bigint,
    start_time bigint,
    end_time bigint,
    total_run_time bigint NOT NULL,
    auto_scheduled bigint NOT NULL,
    infrastructure_document_id uuid,
    infrastructure_pid text,
    created_by text,
    job_variables text
);
CREATE UNIQUE INDEX flow_run_idempotency ON flow_run (flow_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- Runs that wait: what a worker asks for, what becomes late. (The state stands in front though it is always the same: else SQLite takes flow_run_state_expected, and reads all that wait.)
CREATE INDEX flow_run_scheduled ON flow_run (state_type, next_scheduled_start_time) WHERE state_type = 'SCHEDULED';
CREATE INDEX flow_run_deployment_scheduled ON flow_run (deployment_id, state_type, next_scheduled_start_time) WHERE state_type = 'SCHEDULED' AND deployment_id IS NOT NULL;
CREATE INDEX flow_run_queue ON flow_run (work_queue_id, next_scheduled_start_time) WHERE state_type = 'SCHEDULED' AND work_queue_id IS NOT NULL;
-- Runs under way: slots in use, pauses, cancellations.
CREATE INDEX flow_run_active ON flow_run (state_type, work_queue_id) WHERE state_type IN ('PENDING', 'RUNNING', 'PAUSED', 'CANCELLING');
-- Cancelled ones whose tasks and subflows may still have to be.
CREATE INDEX flow_run_cancelled ON flow_run (state_type, end_time) WHERE state_type = 'CANCELLED';
CREATE INDEX flow_run_deployment ON flow_run (deployment_id, id) WHERE deployment_id IS NOT NULL;
-- What lists and pages show: newest first, of a state, of a flow, of a deployment; by name.
CREATE INDEX flow_run_expected ON flow_run (expected_start_time); --sqlite
CREATE INDEX flow_run_expected ON flow_run (expected_start_time DESC NULLS LAST, id); --postgres
CREATE INDEX flow_run_start ON flow_run (coalesce(start_time, expected_start_time)); --sqlite
CREATE INDEX flow_run_start ON flow_run (coalesce(start_time, expected_start_time) DESC NULLS LAST, id); --postgres
CREATE INDEX flow_run_end ON flow_run (end_time); --sqlite
CREATE INDEX flow_run_end ON flow_run (end_time DESC NULLS LAST, id); --postgres
CREATE INDEX flow_run_state_id_order ON flow_run (state_type, id);
CREATE INDEX flow_run_state_expected ON flow_run (state_type, expected_start_time); --sqlite
CREATE INDEX flow_run_state_expected ON flow_run (state_type, expected_start_time DESC NULLS LAST, id); --postgres
CREATE INDEX flow_run_flow ON flow_run (flow_id, expected_start_time); --sqlite
CREATE INDEX flow_run_flow ON flow_run (flow_id, expected_start_time DESC NULLS LAST, id); --postgres
CREATE INDEX flow_run_deployment_expected ON flow_run (deployment_id, expected_start_time) WHERE deployment_id IS NOT NULL; --sqlite
CREATE INDEX flow_run_deployment_expected ON flow_run (deployment_id, expected_start_time DESC NULLS LAST, id) WHERE deployment_id IS NOT NULL; --postgres
CREATE INDEX flow_run_by_name ON flow_run (name);
-- Runs by tag. SQLite has no index over the values of a JSON list, so triggers keep this one (model/filter.h: struct listing).
CREATE INDEX flow_run_tags ON flow_run USING gin ((tags::jsonb)); --postgres
CREATE TABLE flow_run_tag (tag text NOT NULL, run_id uuid NOT NULL, expected_start_time bigint NOT NULL, PRIMARY KEY (tag, run_id)); --sqlite
CREATE INDEX flow_run_tag_expected ON flow_run_tag (tag, expected_start_time, run_id); --sqlite
CREATE TRIGGER flow_run_tagged AFTER INSERT ON flow_run WHEN new.tags <> '[]' BEGIN INSERT OR IGNORE INTO flow_run_tag SELECT value, new.id, coalesce(new.expected_start_time, 0) FROM json_each(new.tags); END; --sqlite
CREATE TRIGGER flow_run_untagged AFTER DELETE ON flow_run WHEN old.tags <> '[]' BEGIN DELETE FROM flow_run_tag WHERE run_id = old.id AND tag IN (SELECT value FROM json_each(old.tags)); END; --sqlite
CREATE TRIGGER flow_run_retagged AFTER UPDATE ON flow_run WHEN old.tags <> new.tags OR (new.tags <> '[]' AND old.expected_start_time IS NOT new.expected_start_time) BEGIN DELETE FROM flow_run_tag WHERE run_id = old.id AND tag IN (SELECT value FROM json_each(old.tags)); INSERT OR IGNORE INTO flow_run_tag SELECT value, new.id, coalesce(new.expected_start_time, 0) FROM json_each(new.tags); END; --sqlite
-- Runs by a part of their name. SQLite: the names there are, each once, and an index of every three letters of those up to the mark (services/names.h).
CREATE TABLE flow_run_name (id bigint PRIMARY KEY AUTOINCREMENT, name text NOT NULL UNIQUE); --sqlite
CREATE TABLE flow_run_name_mark (name_id bigint NOT NULL); --sqlite
CREATE TABLE flow_run_name_gone (id bigint PRIMARY KEY, name text NOT NULL); --sqlite
CREATE VIRTUAL TABLE flow_run_name_part USING fts5(name, content='flow_run_name', content_rowid='id', tokenize='trigram'); --sqlite
CREATE TRIGGER flow_run_named AFTER INSERT ON flow_run BEGIN INSERT INTO flow_run_name (name) VALUES (new.name) ON CONFLICT DO NOTHING; END; --sqlite
CREATE TRIGGER flow_run_renamed AFTER UPDATE ON flow_run WHEN old.name <> new.name BEGIN INSERT INTO flow_run_name (name) VALUES (new.name) ON CONFLICT DO NOTHING; DELETE FROM flow_run_name WHERE name = old.name AND NOT EXISTS (SELECT 1 FROM flow_run WHERE name = old.name); END; --sqlite
CREATE TRIGGER flow_run_unnamed AFTER DELETE ON flow_run BEGIN DELETE FROM flow_run_name WHERE name = old.name AND NOT EXISTS (SELECT 1 FROM flow_run WHERE name = old.name); END; --sqlite
CREATE TRIGGER flow_run_name_goes AFTER DELETE ON flow_run_name WHEN old.id <= (SELECT max(name_id) FROM flow_run_name_mark) BEGIN INSERT INTO flow_run_name_gone (id, name) VALUES (old.id, old.name); END; --sqlite
DO $$ BEGIN CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public; CREATE INDEX flow_run_by_name_part ON flow_run USING gin (name public.gin_trgm_ops); EXCEPTION WHEN OTHERS THEN RAISE NOTICE 'runs are not indexed by parts of their names: %', SQLERRM; END $$; --postgres
CREATE INDEX flow_run_parent ON flow_run (parent_task_run_id) WHERE parent_task_run_id IS NOT NULL;
-- How many runs ended, by the minute and the hour of their expected start (`at`, of `span` µs; runs without one: far before all), and the sums
-- that charts show of them; triggers keep it. On PostgreSQL each connection has rows of its own, so that none waits for another's commit.
CREATE TABLE flow_run_tally (span bigint NOT NULL, at bigint NOT NULL, state_type text NOT NULL, state_name text NOT NULL, runs bigint NOT NULL, run_time bigint NOT NULL, lateness bigint NOT NULL, PRIMARY KEY (span, at, state_type, state_name)); --sqlite
CREATE TABLE flow_run_tally (span bigint NOT NULL, at bigint NOT NULL, state_type text NOT NULL, state_name text NOT NULL, connection bigint NOT NULL, runs bigint NOT NULL, run_time bigint NOT NULL, lateness bigint NOT NULL, PRIMARY KEY (span, at, state_type, state_name, connection)) WITH (fillfactor = 70); --postgres
CREATE TRIGGER flow_run_tally_insert AFTER INSERT ON flow_run WHEN new.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') BEGIN INSERT INTO flow_run_tally VALUES (60000000, coalesce(new.expected_start_time - ((new.expected_start_time % 60000000) + 60000000) % 60000000, -4611686018427387904), new.state_type, coalesce(new.state_name, new.state_type), 1, new.total_run_time, CASE WHEN new.start_time > new.expected_start_time THEN new.start_time - new.expected_start_time ELSE 0 END) ON CONFLICT DO UPDATE SET runs = runs + 1, run_time = run_time + excluded.run_time, lateness = lateness + excluded.lateness; INSERT INTO flow_run_tally VALUES (3600000000, coalesce(new.expected_start_time - ((new.expected_start_time % 3600000000) + 3600000000) % 3600000000, -4611686018427387904), new.state_type, coalesce(new.state_name, new.state_type), 1, new.total_run_time, CASE WHEN new.start_time > new.expected_start_time THEN new.start_time - new.expected_start_time ELSE 0 END) ON CONFLICT DO UPDATE SET runs = runs + 1, run_time = run_time + excluded.run_time, lateness = lateness + excluded.lateness; END; --sqlite
CREATE TRIGGER flow_run_tally_delete AFTER DELETE ON flow_run WHEN old.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') BEGIN UPDATE flow_run_tally SET runs = runs - 1, run_time = run_time - old.total_run_time, lateness = lateness - CASE WHEN old.start_time > old.expected_start_time THEN old.start_time - old.expected_start_time ELSE 0 END WHERE span = 60000000 AND at = coalesce(old.expected_start_time - ((old.expected_start_time % 60000000) + 60000000) % 60000000, -4611686018427387904) AND state_type = old.state_type AND state_name = coalesce(old.state_name, old.state_type); DELETE FROM flow_run_tally WHERE span = 60000000 AND at = coalesce(old.expected_start_time - ((old.expected_start_time % 60000000) + 60000000) % 60000000, -4611686018427387904) AND state_type = old.state_type AND state_name = coalesce(old.state_name, old.state_type) AND runs = 0; UPDATE flow_run_tally SET runs = runs - 1, run_time = run_time - old.total_run_time, lateness = lateness - CASE WHEN old.start_time > old.expected_start_time THEN old.start_time - old.expected_start_time ELSE 0 END WHERE span = 3600000000 AND at = coalesce(old.expected_start_time - ((old.expected_start_time % 3600000000) + 3600000000) % 3600000000, -4611686018427387904) AND state_type = old.state_type AND state_name = coalesce(old.state_name, old.state_type); DELETE FROM flow_run_tally WHERE span = 3600000000 AND at = coalesce(old.expected_start_time - ((old.expected_start_time % 3600000000) + 3600000000) % 3600000000, -4611686018427387904) AND state_type = old.state_type AND state_name = coalesce(old.state_name, old.state_type) AND runs = 0; END; --sqlite
CREATE TRIGGER flow_run_tally_off AFTER UPDATE ON flow_run WHEN old.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') AND (old.state_type, old.state_name, old.expected_start_time, old.start_time, old.total_run_time) IS NOT (new.state_type, new.state_name, new.expected_start_time, new.start_time, new.total_run_time) BEGIN UPDATE flow_run_tally SET runs = runs - 1, run_time = run_time - old.total_run_time, lateness = lateness - CASE WHEN old.start_time > old.expected_start_time THEN old.start_time - old.expected_start_time ELSE 0 END WHERE span = 60000000 AND at = coalesce(old.expected_start_time - ((old.expected_start_time % 60000000) + 60000000) % 60000000, -4611686018427387904) AND state_type = old.state_type AND state_name = coalesce(old.state_name, old.state_type); DELETE FROM flow_run_tally WHERE span = 60000000 AND at = coalesce(old.expected_start_time - ((old.expected_start_time % 60000000) + 60000000) % 60000000, -4611686018427387904) AND state_type = old.state_type AND state_name = coalesce(old.state_name, old.state_type) AND runs = 0; UPDATE flow_run_tally SET runs = runs - 1, run_time = run_time - old.total_run_time, lateness = lateness - CASE WHEN old.start_time > old.expected_start_time THEN old.start_time - old.expected_start_time ELSE 0 END WHERE span = 3600000000 AND at = coalesce(old.expected_start_time - ((old.expected_start_time % 3600000000) + 3600000000) % 3600000000, -4611686018427387904) AND state_type = old.state_type AND state_name = coalesce(old.state_name, old.state_type); DELETE FROM flow_run_tally WHERE span = 3600000000 AND at = coalesce(old.expected_start_time - ((old.expected_start_time % 3600000000) + 3600000000) % 3600000000, -4611686018427387904) AND state_type = old.state_type AND state_name = coalesce(old.state_name, old.state_type) AND runs = 0; END; --sqlite
CREATE TRIGGER flow_run_tally_on AFTER UPDATE ON flow_run WHEN new.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') AND (old.state_type, old.state_name, old.expected_start_time, old.start_time, old.total_run_time) IS NOT (new.state_type, new.state_name, new.expected_start_time, new.start_time, new.total_run_time) BEGIN INSERT INTO flow_run_tally VALUES (60000000, coalesce(new.expected_start_time - ((new.expected_start_time % 60000000) + 60000000) % 60000000, -4611686018427387904), new.state_type, coalesce(new.state_name, new.state_type), 1, new.total_run_time, CASE WHEN new.start_time > new.expected_start_time THEN new.start_time - new.expected_start_time ELSE 0 END) ON CONFLICT DO UPDATE SET runs = runs + 1, run_time = run_time + excluded.run_time, lateness = lateness + excluded.lateness; INSERT INTO flow_run_tally VALUES (3600000000, coalesce(new.expected_start_time - ((new.expected_start_time % 3600000000) + 3600000000) % 3600000000, -4611686018427387904), new.state_type, coalesce(new.state_name, new.state_type), 1, new.total_run_time, CASE WHEN new.start_time > new.expected_start_time THEN new.start_time - new.expected_start_time ELSE 0 END) ON CONFLICT DO UPDATE SET runs = runs + 1, run_time = run_time + excluded.run_time, lateness = lateness + excluded.lateness; END; --sqlite
CREATE FUNCTION flow_run_tally_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO flow_run_tally SELECT s, coalesce(new.expected_start_time - ((new.expected_start_time % s) + s) % s, -4611686018427387904), new.state_type, coalesce(new.state_name, new.state_type), pg_backend_pid() % 64, 1, new.total_run_time, (CASE WHEN new.start_time > new.expected_start_time THEN new.start_time - new.expected_start_time ELSE 0 END) FROM (VALUES (60000000::bigint), (3600000000)) AS spans (s) ON CONFLICT (span, at, state_type, state_name, connection) DO UPDATE SET runs = flow_run_tally.runs + excluded.runs, run_time = flow_run_tally.run_time + excluded.run_time, lateness = flow_run_tally.lateness + excluded.lateness; RETURN NULL; END $$; --postgres
CREATE FUNCTION flow_run_tally_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO flow_run_tally SELECT s, coalesce(old.expected_start_time - ((old.expected_start_time % s) + s) % s, -4611686018427387904), old.state_type, coalesce(old.state_name, old.state_type), pg_backend_pid() % 64, -1, -old.total_run_time, -(CASE WHEN old.start_time > old.expected_start_time THEN old.start_time - old.expected_start_time ELSE 0 END) FROM (VALUES (60000000::bigint), (3600000000)) AS spans (s) ON CONFLICT (span, at, state_type, state_name, connection) DO UPDATE SET runs = flow_run_tally.runs + excluded.runs, run_time = flow_run_tally.run_time + excluded.run_time, lateness = flow_run_tally.lateness + excluded.lateness; RETURN NULL; END $$; --postgres
CREATE TRIGGER flow_run_tally_insert AFTER INSERT ON flow_run FOR EACH ROW WHEN (new.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED')) EXECUTE FUNCTION flow_run_tally_on(); --postgres
CREATE TRIGGER flow_run_tally_delete AFTER DELETE ON flow_run FOR EACH ROW WHEN (old.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED')) EXECUTE FUNCTION flow_run_tally_off(); --postgres
CREATE TRIGGER flow_run_tally_off AFTER UPDATE ON flow_run FOR EACH ROW WHEN (old.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') AND (old.state_type, old.state_name, old.expected_start_time, old.start_time, old.total_run_time) IS DISTINCT FROM (new.state_type, new.state_name, new.expected_start_time, new.start_time, new.total_run_time)) EXECUTE FUNCTION flow_run_tally_off(); --postgres
CREATE TRIGGER flow_run_tally_on AFTER UPDATE ON flow_run FOR EACH ROW WHEN (new.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') AND (old.state_type, old.state_name, old.expected_start_time, old.start_time, old.total_run_time) IS DISTINCT FROM (new.state_type, new.state_name, new.expected_start_time, new.start_time, new.total_run_time)) EXECUTE FUNCTION flow_run_tally_on(); --postgres

-- Appended, and found by run; result_artifact_id: the artifact that has the data. (Clustered by run, WITHOUT ROWID, costs the same and writes a tenth more.)
CREATE TABLE flow_run_state (
    run_id uuid NOT NULL REFERENCES flow_run (id) ON DELETE CASCADE,
    id uuid NOT NULL,
    type text NOT NULL,
    name text,
    timestamp bigint NOT NULL,
    message text,
    data text,
    state_details text NOT NULL,
    result_artifact_id uuid,
    PRIMARY KEY (run_id, timestamp)
);
CREATE INDEX flow_run_state_id ON flow_run_state (id);

CREATE TABLE flow_run_input (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    flow_run_id uuid NOT NULL REFERENCES flow_run (id) ON DELETE CASCADE,
    key text NOT NULL,
    value text NOT NULL,
    sender text,
    UNIQUE (flow_run_id, key)
);

CREATE TABLE task_run (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL,
    flow_run_id uuid REFERENCES flow_run (id) ON DELETE CASCADE,
    task_key text NOT NULL,
    dynamic_key text NOT NULL,
    cache_key text,
    cache_expiration bigint,
    task_version text,
    empirical_policy text NOT NULL,
    tags text NOT NULL,
    labels text,
    state_id uuid,
    task_inputs text NOT NULL,
    state_type text,
    state_name text,
    state_timestamp bigint,
    run_count bigint NOT NULL,
    flow_run_run_count bigint NOT NULL,
    expected_start_time bigint,
    next_scheduled_start_time bigint,
    start_time bigint,
    end_time bigint,
    total_run_time bigint NOT NULL,
    UNIQUE (flow_run_id, task_key, dynamic_key)
);
CREATE UNIQUE INDEX task_run_without_flow ON task_run (task_key, dynamic_key) WHERE flow_run_id IS NULL;
-- Background tasks that wait for a task worker.
CREATE INDEX task_run_scheduled ON task_run (id) WHERE state_type = 'SCHEDULED';

CREATE TABLE task_run_state (
    run_id uuid NOT NULL REFERENCES task_run (id) ON DELETE CASCADE,
    id uuid NOT NULL,
    type text NOT NULL,
    name text,
    timestamp bigint NOT NULL,
    message text,
    data text,
    state_details text NOT NULL,
    result_artifact_id uuid,
    PRIMARY KEY (run_id, timestamp, id)
);
CREATE INDEX task_run_state_id ON task_run_state (id);

CREATE TABLE task_run_state_cache (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    cache_key text NOT NULL,
    cache_expiration bigint,
    task_run_state_id uuid NOT NULL
);
CREATE INDEX task_run_state_cache_key ON task_run_state_cache (cache_key, id);

-- Also where the results of runs are: a state's data is that of its artifact.
CREATE TABLE artifact (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    key text,
    type text,
    description text,
    data text,
    metadata_ text,
    flow_run_id uuid,
    task_run_id uuid
);
CREATE INDEX artifact_key ON artifact (key, created) WHERE key IS NOT NULL;
CREATE INDEX artifact_flow_run ON artifact (flow_run_id) WHERE flow_run_id IS NOT NULL;
CREATE INDEX artifact_task_run ON artifact (task_run_id) WHERE task_run_id IS NOT NULL;

-- The newest artifact of each key, copied.
CREATE TABLE artifact_collection (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    key text NOT NULL UNIQUE,
    latest_id uuid NOT NULL,
    type text,
    description text,
    data text,
    metadata_ text,
    flow_run_id uuid,
    task_run_id uuid
);
CREATE INDEX artifact_collection_latest ON artifact_collection (latest_id);

CREATE TABLE variable (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL UNIQUE,
    value text,
    tags text NOT NULL
);

CREATE TABLE saved_search (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL UNIQUE,
    filters text NOT NULL
);

-- trigger and the actions are complete, with ids of ours (events/automation.h).
CREATE TABLE automation (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    enabled bigint NOT NULL,
    tags text NOT NULL,
    trigger text NOT NULL,
    actions text NOT NULL,
    actions_on_trigger text NOT NULL,
    actions_on_resolve text NOT NULL
);

-- What an automation is about: the deployments that it runs, and the resource that it goes with (owned).
CREATE TABLE automation_related_resource (
    automation_id uuid NOT NULL REFERENCES automation (id) ON DELETE CASCADE,
    resource_id text NOT NULL,
    owned bigint NOT NULL,
    PRIMARY KEY (automation_id, resource_id)
);
CREATE INDEX automation_related_resource_id ON automation_related_resource (resource_id);

-- 2.x
CREATE TABLE flow_run_notification_policy (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    is_active bigint NOT NULL,
    state_names text NOT NULL,
    tags text NOT NULL,
    block_document_id uuid NOT NULL REFERENCES block_document (id) ON DELETE CASCADE,
    message_template text
);
CREATE INDEX flow_run_notification_policy_block ON flow_run_notification_policy (block_document_id);

-- What is left of runs that count as cancelled though nobody ended them: given to the pool's workers over their channel.
-- worker, lease: who has it, and until when; afterwards who had it last, to whom it is not given before `again`.
CREATE TABLE worker_cleanup (
    id uuid NOT NULL PRIMARY KEY,
    created bigint NOT NULL,
    work_pool_id uuid NOT NULL REFERENCES work_pool (id) ON DELETE CASCADE,
    work_queue_id uuid,
    flow_run_id uuid NOT NULL,
    infrastructure_pid text,
    deliveries bigint NOT NULL,
    token text,
    worker text,
    lease bigint,
    again bigint NOT NULL,
    dead bigint NOT NULL
);
CREATE INDEX worker_cleanup_pool ON worker_cleanup (work_pool_id, dead, created);

-- Named values of the server's own.
CREATE TABLE configuration (
    key text NOT NULL PRIMARY KEY,
    updated bigint NOT NULL,
    value text NOT NULL
);
