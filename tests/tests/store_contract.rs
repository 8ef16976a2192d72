//! Every store passes the same rules.

#![allow(clippy::unwrap_used, reason = "all of it is tests, helpers included")]

#[path = "store_contract/group_commit.rs"]
mod group_commit;
#[path = "store_contract/memory.rs"]
mod memory;
#[path = "store_contract/postgres.rs"]
mod postgres;
#[path = "store_contract/sqlite.rs"]
mod sqlite;
