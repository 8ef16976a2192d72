//! What callables call their artifacts stands nowhere in a path: whatever the names, a folder has keys in it and nothing
//! else, and beside it there is nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use stepstream_coordinator::artifacts::Artifacts as Shelf;
use stepstream_coordinator::reading::ArtifactList;
use stepstream_coordinator::service::Start;
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::artifact::ArtifactStore;
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::artifact::{ArtifactType, ContentHash};
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::ExecutionState;
use stepstream_shared::id::TenantId;
use stepstream_tests::poll::until;
use stepstream_worker::{Artifacts, Context, Failure, NewArtifact, Worker};
use tokio_util::sync::CancellationToken;

const GRAPH: &str = "
stepstream: 1
name: names
nodes: { keep: { task: keep, with: '=inputs' } }
output: '=steps.keep.output'
";

/// Of one execution: an attempt stores 64 at most.
const NAMES: usize = 40;

/// Legal names that look like paths, options, devices, keys and marks of the store, and any others.
fn names() -> impl Strategy<Value = Vec<String>> {
    let part = prop::sample::select(vec![
        "..",
        "/",
        "\\",
        ".",
        "-",
        "~",
        "%2e%2e%2f",
        "tenant_default",
        "tenant_other",
        ".collecting",
        "#1",
        "etc",
        "CON",
        "ä",
        " ",
    ]);
    let odd = prop::collection::vec(part, 1..10).prop_map(|parts| parts.concat());
    let other = "\\PC{1,60}".prop_filter("at most 256 bytes", |name| name.len() <= 256);
    let key = any::<[u8; 4]>().prop_map(|bytes| format!("../../tenant_other/00/{}", ContentHash::of(&bytes).hex()));
    prop::collection::vec(prop_oneof![odd, other, key], 1..NAMES)
}

struct Fixture {
    coordinator: Coordinator,
    directory: tempfile::TempDir,
    stop: CancellationToken,
    worker: Shutdown,
}

async fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let store = ArtifactStore::in_folder(&directory.path().join("around/artifacts")).unwrap();
    let bus = Arc::new(InProcessBus::new(InProcessOptions::default()));
    let stop = CancellationToken::new();
    let options = Options { exclusive: true, artifacts: Some(Shelf::new(store.clone())), ..Options::default() };
    let coordinator = start(options, Arc::new(MemoryStore::new(8)), bus.clone(), stop.clone()).await.unwrap();
    let worker = Shutdown::new();
    let run = Worker::builder()
        .bus(bus)
        .artifacts(Artifacts::new(store))
        .register("keep", async |context: Context, names: Vec<String>| {
            for name in &names {
                // What it says is its name, so that who reads it sees whether it is the one.
                context.store_artifact(NewArtifact::new(name, ArtifactType::Text), name.clone().into_bytes()).await?;
            }
            Ok::<_, Failure>(names.len())
        })
        .build()
        .unwrap();
    tokio::spawn(run.run(worker.clone()));
    Fixture { coordinator, directory, stop, worker }
}

/// Every file and folder below, by its path from there.
fn everything(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path.clone());
            }
            found.insert(path.strip_prefix(folder).unwrap().to_owned());
        }
    }
    found
}

impl Fixture {
    /// Stores under each of these names, and looks at what is there then.
    async fn stores(&self, names: Vec<String>) {
        let (service, tenant) = (&self.coordinator.service, TenantId::default_tenant());
        let registered = service.register_graph(&tenant, "names.yaml", GRAPH).await.unwrap();
        let request = Start {
            graph: registered.graph,
            named: None,
            inputs: Data::from_json(&json!(names)).unwrap(),
            idempotency_key: None,
            actor: Actor::User("test".to_owned()),
            trace: None,
            metadata: None,
            breakpoints: Vec::new(),
            limits: Default::default(),
            background: None,
        };
        let id = service.start(&tenant, request).await.unwrap().execution;
        let loaded = until("it ends", async || {
            let loaded = service.load(&tenant, id, None).await.ok()?;
            loaded.execution.state().is_terminal().then_some(loaded)
        })
        .await;
        assert_eq!(loaded.execution.state(), ExecutionState::Completed, "{names:?}: {:?}", loaded.execution.error());
        let list = ArtifactList::of(&loaded);
        for name in &names {
            let found = list.find(name).unwrap_or_else(|| panic!("{name:?} is not on record: {list:?}"));
            let mut content = service.open_content(&tenant, &found.content().unwrap()).await.unwrap();
            let mut read = Vec::new();
            while let Some(part) = content.next().await.unwrap() {
                read.extend_from_slice(&part);
            }
            assert_eq!(read, name.as_bytes(), "{name:?}");
        }
        let root = self.directory.path().join("around");
        for path in everything(&root) {
            let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
            let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            let is_key = match parts.as_slice() {
                ["artifacts"] | ["artifacts", "tenant_default"] => true,
                ["artifacts", "tenant_default", two] => two.len() == 2 && hex(two),
                ["artifacts", "tenant_default", two, hash] => hash.len() == 64 && hex(hash) && hash.starts_with(two),
                _ => false,
            };
            assert!(is_key, "{} came from one of {names:?}", path.display());
        }
        assert_eq!(std::fs::read_dir(self.directory.path()).unwrap().count(), 1, "nothing beside it");
    }
}

#[test]
fn d49_no_name_of_an_artifact_leaves_its_folder() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let fixture = runtime.block_on(fixture());
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    runner
        .run(&names(), |names| {
            let stored =
                runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), fixture.stores(names)).await });
            prop_assert!(stored.is_ok(), "it never ended");
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        fixture.worker.request();
        fixture.stop.cancel();
        fixture.coordinator.stopped().await;
    });
}
