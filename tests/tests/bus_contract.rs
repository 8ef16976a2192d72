//! Both job buses under one contract, and what only JetStream promises.

use std::sync::Arc;

use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_tests::contract::bus::{self, Fleet, Needs};
use stepstream_tests::for_every_bus_rule;

#[path = "bus_contract/jetstream.rs"]
mod jetstream;

fn in_process(needs: Needs) -> Fleet {
    let bus = InProcessBus::new(InProcessOptions {
        jobs_per_queue: if needs == Needs::LittleRoom { 200 } else { 100_000 },
        max_payload: Some(bus::PAYLOAD_LIMIT as usize),
        ..InProcessOptions::default()
    });
    Fleet {
        coordinator: Arc::new(bus.clone()),
        other_coordinator: Arc::new(bus.clone()),
        worker: Arc::new(bus.clone()),
        other_worker: Arc::new(bus.clone()),
        keep: Box::new(()),
    }
}

macro_rules! in_process_tests {
    ($($rule:ident: $needs:ident,)*) => {
        mod in_process_keeps_the_contract {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    bus::$rule(in_process(Needs::$needs)).await;
                }
            )*
        }
    };
}

macro_rules! jetstream_tests {
    ($($rule:ident: $needs:ident,)*) => {
        mod jetstream_keeps_the_contract {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    bus::$rule(jetstream::fleet(Needs::$needs).await).await;
                }
            )*
        }
    };
}

for_every_bus_rule!(in_process_tests);
for_every_bus_rule!(jetstream_tests);
