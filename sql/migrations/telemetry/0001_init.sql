-- What is bulky and of another lifetime: logs and events. Ids are UUIDv7 made on arrival, or the sender's.

CREATE TABLE log (
    id uuid NOT NULL PRIMARY KEY,
    name text NOT NULL,
    level bigint NOT NULL,
    message text NOT NULL,
    timestamp bigint NOT NULL,
    flow_run_id uuid,
    task_run_id uuid
);
CREATE INDEX log_flow_run ON log (flow_run_id, timestamp) WHERE flow_run_id IS NOT NULL;
CREATE INDEX log_task_run ON log (task_run_id, timestamp) WHERE task_run_id IS NOT NULL;

CREATE TABLE event (
    id uuid NOT NULL PRIMARY KEY,
    occurred bigint NOT NULL,
    received bigint NOT NULL,
    event text NOT NULL,
    resource_id text NOT NULL,
    resource text NOT NULL,
    related text NOT NULL,
    payload text NOT NULL,
    follows uuid
);
CREATE INDEX event_occurred ON event (occurred, id);
CREATE INDEX event_resource ON event (resource_id, occurred);

-- How far something has come: 'flow_run_states' is the instant (ms) up to about which the events of flow runs' states
-- are stored; those of younger states are emitted anew at the next start.
CREATE TABLE mark (
    name text NOT NULL PRIMARY KEY,
    value bigint NOT NULL
);
