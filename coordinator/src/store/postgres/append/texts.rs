//! The texts of the append, put together from the same pieces, so that a batch pays only for what it writes.

/// The partitions of the batch, locked.
macro_rules! held {
    () => {
        "held as materialized (
    select id, epoch from partitions where id = any($1) order by id for share
)"
    };
}

/// The rows of the log whose partition is ours and whose predecessor ends right before them.
macro_rules! added {
    () => {
        "added as (
    insert into events (tenant, execution, first_seq, last_seq, epoch, hash, body)
    select a.tenant, a.execution, a.first_seq, a.last_seq, a.epoch, a.hash, a.body
    from unnest($2::text[], $3::bytea[], $4::int4[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::bytea[], $10::bytea[])
         as a(tenant, execution, partition, epoch, first_seq, last_seq, previous, hash, body)
    join held on held.id = a.partition and held.epoch = a.epoch
    where a.first_seq = 1
       or (select p.last_seq from events p
           where p.execution = a.execution and p.first_seq = a.previous and p.tenant = a.tenant) = a.first_seq - 1
    order by a.execution
    on conflict do nothing
    returning execution
)"
    };
}

/// The rows of the list, of what was added.
macro_rules! listed {
    () => {
        "listed as (
    insert into executions (tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters)
    select l.tenant, l.execution, l.partition, l.state, l.terminal, l.graph, l.graph_name, l.created_at, l.updated_at, l.mode, l.status, l.queue_rank, l.dead_letters
    from unnest($11::text[], $12::bytea[], $13::int8[], $14::text[], $15::bool[], $16::bytea[], $17::text[], $18::int8[], $19::int8[],
                $20::text[], $21::text[], $22::int8[], $23::int8[])
         as l(tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters)
    join added on added.execution = l.execution
    order by l.execution
    on conflict (execution) do update set
        state = excluded.state, terminal = excluded.terminal, graph = excluded.graph,
        graph_name = excluded.graph_name, created_at = excluded.created_at, updated_at = excluded.updated_at,
        mode = excluded.mode, status = excluded.status, queue_rank = excluded.queue_rank, dead_letters = excluded.dead_letters
)"
    };
}

/// The places on the agenda, of what was added: into one table, out of the other.
///
/// A row that goes out of the outbox is found by its key, one by one: a join would be one by hash on these connections, and
/// read the whole table.
macro_rules! agenda {
    () => {
        "agenda as materialized (
    select g.*
    from unnest($24::text[], $25::bytea[], $26::int4[], $27::bool[], $28::int8[], $29::bool[], $30::bool[])
         as g(tenant, execution, partition, owes, due_at, leaves_outbox, leaves_timers)
    join added on added.execution = g.execution
), owing as (
    insert into outbox (partition, execution, tenant)
    select partition, execution, tenant from agenda where owes order by execution
    on conflict do nothing
), paid as (
    delete from outbox where ctid = any (array(
        select (select o.ctid from outbox o where o.partition = g.partition and o.execution = g.execution)
        from agenda g where g.leaves_outbox))
), resting as (
    insert into timers (execution, tenant, partition, due_at)
    select execution, tenant, partition, due_at from agenda where due_at is not null order by execution
    on conflict (execution) do update set due_at = excluded.due_at
), woken as (
    delete from timers where execution = any (array(
        select execution from agenda where leaves_timers))
)"
    };
}

/// The executions of what was added, one after the other.
macro_rules! answer {
    () => {
        "
select coalesce(string_agg(execution, ''::bytea), ''::bytea) from added"
    };
}

/// Writes the log and nothing else: the step in the middle of an execution.
pub(super) const WRITE: &str = concat!("with ", held!(), ", ", added!(), answer!());

/// Writes what is derived as well.
pub(super) const WRITE_AND_DERIVE: &str =
    concat!("with ", held!(), ", ", added!(), ", ", listed!(), ", ", agenda!(), answer!());

/// The same for batches in which some append continues another log. Rare, so that the others need not pay for it.
///
/// Such an append comes with a row that stands for what it shares (`shared`), at the place where a log that begins by
/// itself has its first append. Where that place is taken, neither is written. `line` walks from the log that was named
/// through those that it continues, `holders` finds the one that has the append in question, before the border: what it has
/// behind that, it has for itself alone. Subqueries instead of joins, because these connections would join by hash, and
/// that reads all there is.
pub(super) const WRITE_WITH_ORIGINS: &str = concat!(
    "with recursive ",
    held!(),
    ", batch as materialized (
    select a.*
    from unnest($2::text[], $3::bytea[], $4::int4[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::bytea[], $10::bytea[], $31::bytea[])
         as a(tenant, execution, partition, epoch, first_seq, last_seq, previous, hash, body, origin)
    join held on held.id = a.partition and held.epoch = a.epoch
), line as (
    select b.execution as heir, b.tenant, b.previous, b.first_seq - 1 as sequence,
           b.origin as execution, b.first_seq - 1 as border, 0::int8 as depth
    from batch b where b.origin is not null
    union all
    select * from (
        select l.heir, l.tenant, l.previous, l.sequence,
               (select e.origin from events e
                where e.execution = l.execution and e.first_seq = 1 and e.tenant = l.tenant) as execution,
               (select e.last_seq from events e where e.execution = l.execution and e.first_seq = 1) as border,
               l.depth + 1
        from line l where l.depth < $32) further
    where further.execution is not null
), holders as (
    select l.heir, l.execution, l.depth, max(l.depth) over (partition by l.heir) as deepest,
           (select e.hash from events e
            where e.execution = l.execution and e.first_seq = l.previous and e.last_seq = l.sequence
              and e.tenant = l.tenant and e.origin is null and l.border >= l.sequence) as hash
    from line l
), shared as (
    insert into events (tenant, execution, first_seq, last_seq, epoch, origin, hash, body)
    select b.tenant, b.execution, 1, b.first_seq - 1, b.epoch, h.execution, h.hash, ''::bytea
    from batch b join holders h on h.heir = b.execution
    where h.hash is not null and h.deepest - h.depth < $32
    order by b.execution
    on conflict do nothing
    returning execution
), added as (
    insert into events (tenant, execution, first_seq, last_seq, epoch, hash, body)
    select b.tenant, b.execution, b.first_seq, b.last_seq, b.epoch, b.hash, b.body
    from batch b
    where case when b.origin is not null then b.execution in (select execution from shared)
          else b.first_seq = 1
            or (select p.last_seq from events p
                where p.execution = b.execution and p.first_seq = b.previous and p.tenant = b.tenant) = b.first_seq - 1
          end
    order by b.execution
    on conflict do nothing
    returning execution
),
",
    listed!(),
    ", ",
    agenda!(),
    answer!()
);
