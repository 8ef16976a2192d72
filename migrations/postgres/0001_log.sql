-- The log, who owns it, and what is derived from it.

-- One row: what this store is.
create table store_meta (
    only_row    bool primary key default true check (only_row),
    incarnation int8 not null check (incarnation > 0),          -- grows with every restore
    partitions  int4 not null check (partitions between 1 and 65535),
    mac_key     bytea not null check (octet_length(mac_key) = 32),
    created_at  timestamptz not null default clock_timestamp()
);

-- Who drives which slice of executions. Every append locks the rows it depends on FOR SHARE; taking over updates them.
create table partitions (
    id          int4 primary key,
    owner       text,
    epoch       int8 not null default 0,                        -- only grows
    lease_until timestamptz not null default '-infinity'
) with (fillfactor = 50);                                       -- renewed every second or so: room for HOT updates

create table members (
    id         text primary key,
    name       text not null,
    expires_at timestamptz not null
);

-- One row is one append: all events of one decision. Rows are never updated.
--
-- An execution that continues another's log has, in the place of what it does not copy, one row without a body: from 1 to
-- the last event that it shares, the log that has them in `origin`, and the hash of the append that ends there. So the
-- key admits one beginning, whatever its kind. `origin` is null everywhere else, and costs no room there.
create table events (
    tenant    text collate "C" not null,
    execution bytea not null,
    first_seq int8 not null check (first_seq > 0),
    last_seq  int8 not null,
    epoch     int8 not null,
    origin    bytea,
    hash      bytea not null,
    body      bytea not null,
    primary key (execution, first_seq),
    check (last_seq >= first_seq)
);

-- Derived: the list of executions. Times are microseconds since 1970, as the events have them.
create table executions (
    execution  bytea primary key,
    tenant     text collate "C" not null,
    partition  int8 not null,
    state      text collate "C" not null,
    terminal   bool not null,
    graph      bytea not null,
    graph_name text not null,
    created_at int8 not null,
    updated_at int8 not null,
    -- Of those that run in the background. The rank is there while one waits to be admitted; the lowest goes first.
    mode       text collate "C",
    status     text collate "C",
    queue_rank int8,
    -- Steps that are held as dead letters.
    dead_letters int8 not null
);
create index executions_by_age on executions (tenant, created_at desc, execution desc);
create index executions_by_state on executions (tenant, state, created_at desc, execution desc);
create index executions_in_background on executions (tenant, created_at desc, execution desc) where mode is not null;
create index executions_queued on executions (tenant, queue_rank, execution, partition) where queue_rank is not null;
create index executions_with_dead_letters on executions (tenant, created_at desc, execution desc) where dead_letters > 0;

-- Derived: what is to be driven. A row names an execution and never what is to be done, which is computed from its log; so
-- an execution writes here when it begins or ends to owe something, not with every step.
--
-- Executions that owe something to workers or to themselves now. Rows come and go with each execution, so what they leave
-- behind is swept by number and not by share.
create table outbox (
    partition int4 not null,
    execution bytea not null,
    tenant    text collate "C" not null,
    primary key (partition, execution)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0.5);

-- Executions that owe nothing before a moment, in microseconds since 1970.
create table timers (
    execution bytea primary key,
    tenant    text collate "C" not null,
    partition int4 not null,
    due_at    int8 not null
);
create index timers_by_moment on timers (partition, due_at, execution);

-- Derived: the state of a long execution after the append that ends with `sequence`, so that recovery folds only what
-- follows. Whoever reads one checks its hashes; the row of the log that it names is in `events`.
create table snapshots (
    execution     bytea primary key,
    tenant        text collate "C" not null,
    sequence      int8 not null check (sequence > 0),
    first_seq     int8 not null,
    hash          bytea not null,
    state_version int8 not null,
    state_hash    bytea not null,
    body          bytea not null
);

create table graphs (
    tenant        text collate "C" not null,
    digest        bytea not null,
    ordinal       int8 generated always as identity,            -- order of registration, whatever the clocks said
    name          text collate "C" not null,
    version       text not null,
    document      text not null,                                -- canonical JSON, byte for byte what was hashed
    registered_at int8 not null,
    primary key (tenant, digest)
);
create index graphs_by_name on graphs (tenant, name, ordinal desc);

-- What executions share. One row for each attempt that waits for its permit or has it; see `ports/permits.rs`.
create table permits (
    execution   bytea not null,
    step        int8 not null,
    attempt     int8 not null,
    tenant      text collate "C" not null,
    partition   int4 not null,
    ordinal     int8 generated always as identity,              -- order of asking, whatever the clocks said
    priority    int2 not null,                                  -- 0 is the most urgent
    place       text collate "C",                               -- its key, and how many places there are
    places      int8,
    pace        text collate "C",                               -- its key; microseconds between moments, and ahead of them
    interval_us int8,
    ahead_us    int8,
    need_cost   int8,                                          -- of the tenant, in micro-dollars
    need_tokens int8,
    granted     int8 not null default 0,                        -- how often it was told; 0 while it waits, -1: denied
    from_us     int8 not null default 0,                        -- when its moment is, in microseconds since 1970
    sequence    int8 not null,                                  -- as of which event of its log it asked last
    since       timestamptz not null default clock_timestamp(),
    primary key (execution, step, attempt)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
create index permits_waiting on permits (tenant, place, priority, ordinal) where granted = 0;
create index permits_short on permits (tenant, priority, ordinal) where granted = 0 and need_cost is not null;
create index permits_by_partition on permits (partition, execution, step, attempt);

-- One row for each key that somebody uses: kind 0 has places, kind 1 moments.
create table permit_keys (
    tenant      text collate "C" not null,
    kind        int2 not null,
    key         text collate "C" not null,
    in_use      int8 not null default 0,
    taken_until int8 not null default 0,                        -- in microseconds since 1970
    primary key (tenant, kind, key)
) with (fillfactor = 50);

-- Schedules: not derived from anything. `definition` is what people wrote, `state` how far it has come, both JSON; a row is
-- changed by whoever names the version before. `next_at` is when its partition's owner is to look at it.
create table schedules (
    id         bytea primary key,
    tenant     text collate "C" not null,
    partition  int4 not null,
    name       text collate "C" not null,
    version    int8 not null check (version > 0),
    next_at    int8,
    definition text not null,
    state      text not null
) with (fillfactor = 70);                                       -- changed with every firing
create unique index schedules_by_name on schedules (tenant, name);
create index schedules_by_moment on schedules (partition, next_at, id) where next_at is not null;

-- What a tenant may have, and its account of the day: what was spent since midnight (UTC) and what is set aside.
create table tenants (
    tenant          text collate "C" primary key,
    limits          text not null default '{}',
    day             int8 not null,                                -- since 1970-01-01
    cost            int8 not null default 0,                      -- micro-dollars
    tokens          int8 not null default 0,
    reserved_cost   int8 not null default 0,
    reserved_tokens int8 not null default 0,
    cost_warned_by   bytea,                                       -- the execution whose use brought the day's budget
    tokens_warned_by bytea                                        -- to where that is told
) with (fillfactor = 50);

-- What each execution has used in all, as of an event of its log: so much of it is in the account.
create table spent (
    execution bytea primary key,
    tenant    text collate "C" not null,
    sequence  int8 not null,
    cost      int8 not null,
    tokens    int8 not null
);
