use std::sync::Arc;

use stepstream_coordinator::store::MemoryStore;
use stepstream_tests::contract::store::{PARTITIONS, SharedStore};

async fn with_fresh(rule: impl AsyncFnOnce(SharedStore)) {
    rule(Arc::new(MemoryStore::new(PARTITIONS))).await;
}

stepstream_tests::store_contract!(with_fresh);
