-- The log, who owns it, and what is derived from it: the same as in PostgreSQL, in SQLite's words.
-- Times are microseconds since 1970, but for leases, which are milliseconds of this machine's clock.

create table store_meta (
    only_row    integer primary key check (only_row = 1),
    incarnation integer not null check (incarnation > 0),
    partitions  integer not null check (partitions between 1 and 65535),
    mac_key     blob not null check (length(mac_key) = 32),
    created_at  integer not null
) strict;

create table partitions (
    id          integer primary key,
    owner       text,
    epoch       integer not null default 0,
    lease_until integer not null default 0
) strict;

create table members (
    id         text primary key,
    name       text not null,
    expires_at integer not null
) strict, without rowid;

-- A rowid table on purpose: bodies can be large, and new rows go to the end of it.
-- `origin`: see the other schema. It stands before the body, so that reading it does not walk over that.
create table events (
    tenant    text not null,
    execution blob not null,
    first_seq integer not null check (first_seq > 0),
    last_seq  integer not null,
    epoch     integer not null,
    origin    blob,
    hash      blob not null,
    body      blob not null,
    primary key (execution, first_seq),
    check (last_seq >= first_seq)
) strict;

create table executions (
    execution  blob primary key,
    tenant     text not null,
    partition  integer not null,
    state      text not null,
    terminal   integer not null,
    graph      blob not null,
    graph_name text not null,
    created_at integer not null,
    updated_at integer not null,
    -- Of those that run in the background. The rank is there while one waits to be admitted; the lowest goes first.
    mode       text,
    status     text,
    queue_rank integer,
    -- Steps that are held as dead letters.
    dead_letters integer not null
) strict, without rowid;
create index executions_by_age on executions (tenant, created_at desc, execution desc);
create index executions_by_state on executions (tenant, state, created_at desc, execution desc);
create index executions_in_background on executions (tenant, created_at desc, execution desc) where mode is not null;
create index executions_queued on executions (tenant, queue_rank, execution, partition) where queue_rank is not null;
create index executions_with_dead_letters on executions (tenant, created_at desc, execution desc) where dead_letters > 0;

-- What is to be driven, now and at a moment: see the other schema.
create table outbox (
    partition integer not null,
    execution blob not null,
    tenant    text not null,
    primary key (partition, execution)
) strict, without rowid;

create table timers (
    execution blob primary key,
    tenant    text not null,
    partition integer not null,
    due_at    integer not null
) strict, without rowid;
create index timers_by_moment on timers (partition, due_at, execution);

-- A rowid table on purpose: bodies are large.
create table snapshots (
    execution     blob primary key,
    tenant        text not null,
    sequence      integer not null check (sequence > 0),
    first_seq     integer not null,
    hash          blob not null,
    state_version integer not null,
    state_hash    blob not null,
    body          blob not null
) strict;

create table graphs (
    ordinal       integer primary key autoincrement,
    tenant        text not null,
    digest        blob not null,
    name          text not null,
    version       text not null,
    document      text not null,
    registered_at integer not null,
    unique (tenant, digest)
) strict;
create index graphs_by_name on graphs (tenant, name, ordinal desc);

-- What executions share: see the other schema. Times are microseconds since 1970.
create table permits (
    ordinal     integer primary key autoincrement,
    execution   blob not null,
    step        integer not null,
    attempt     integer not null,
    tenant      text not null,
    partition   integer not null,
    priority    integer not null,
    place       text,
    places      integer,
    pace        text,
    interval_us integer,
    ahead_us    integer,
    need_cost   integer,
    need_tokens integer,
    granted     integer not null default 0,
    from_us     integer not null default 0,
    sequence    integer not null,
    since       integer not null,
    unique (execution, step, attempt)
) strict;
create index permits_waiting on permits (tenant, place, priority, ordinal) where granted = 0;
create index permits_short on permits (tenant, priority, ordinal) where granted = 0 and need_cost is not null;
create index permits_by_partition on permits (partition, execution, step, attempt);

create table permit_keys (
    tenant      text not null,
    kind        integer not null,
    key         text not null,
    in_use      integer not null default 0,
    taken_until integer not null default 0,
    primary key (tenant, kind, key)
) strict, without rowid;

-- Schedules: see the other schema. A rowid table on purpose: definitions can be large.
create table schedules (
    id         blob primary key,
    tenant     text not null,
    partition  integer not null,
    name       text not null,
    version    integer not null check (version > 0),
    next_at    integer,
    definition text not null,
    state      text not null
) strict;
create unique index schedules_by_name on schedules (tenant, name);
create index schedules_by_moment on schedules (partition, next_at, id) where next_at is not null;

-- What a tenant may have, and its account of the day: what was spent since midnight (UTC) and what is set aside.
create table tenants (
    tenant          text primary key,
    limits          text not null default '{}',
    day             integer not null,
    cost            integer not null default 0,
    tokens          integer not null default 0,
    reserved_cost   integer not null default 0,
    reserved_tokens integer not null default 0,
    cost_warned_by   blob,
    tokens_warned_by blob
) strict, without rowid;

-- What each execution has used in all, as of an event of its log: so much of it is in the account.
create table spent (
    execution blob primary key,
    tenant    text not null,
    sequence  integer not null,
    cost      integer not null,
    tokens    integer not null
) strict, without rowid;
