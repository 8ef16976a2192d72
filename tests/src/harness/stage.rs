//! Many small scenes in one fleet, and one blow that hits all of them: what each has before it, and does after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_coordinator::reading::{Loaded, Reader};
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::id::TenantId;
use stepstream_shared::time::Timestamp;
use tokio::sync::{Barrier, RwLock, watch};
use tokio::task::JoinSet;

use super::api::Api;
use super::fleet::Fleet;
use super::process::Process;
use super::programs;
use super::story::Story;

/// Scenes are many: each looks seldom enough to leave the machine to the fleet.
const LOOK: Duration = Duration::from_millis(40);
/// Running out of it means that the system is wrong, not that the machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// Programs that check logs at the same time.
const CHECKS: usize = 4;

/// What is killed, at once and without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The coordinator that drives the scenes. Another one lives.
    Owner,
    /// All there are; then a new one comes.
    All,
}

/// After the blow.
#[derive(Debug, Clone)]
pub struct After {
    /// A coordinator that lives.
    pub api: Api,
    pub killed_at: Timestamp,
}

struct Shared {
    fleet: RwLock<Fleet>,
    /// All but those in a hurry are prepared.
    prepared: Barrier,
    /// The blow may come.
    ready: Barrier,
    after: watch::Receiver<Option<After>>,
    blow: Blow,
}

/// One scene's part of the stage.
pub struct Scene {
    pub name: &'static str,
    shared: Arc<Shared>,
    is_prepared: bool,
    /// Executions that it began.
    begun: Vec<String>,
}

pub type Play = std::pin::Pin<Box<dyn Future<Output = Scene> + Send>>;

/// A scene by name, and how it is played.
pub type Script = (&'static str, fn(Scene) -> Play);

/// Plays all scenes at once, strikes when all are ready, and checks the logs of all executions when all have ended.
///
/// # Panics
/// When a scene does, or anything is in a log twice.
pub async fn play(fleet: Fleet, blow: Blow, scripts: &[Script]) {
    let (struck, after) = watch::channel(None);
    let shared = Arc::new(Shared {
        fleet: RwLock::new(fleet),
        prepared: Barrier::new(scripts.len()),
        ready: Barrier::new(scripts.len() + 1),
        after,
        blow,
    });
    let mut scenes = JoinSet::new();
    for (name, script) in scripts {
        let scene = Scene { name, shared: shared.clone(), is_prepared: false, begun: Vec::new() };
        scenes.spawn(script(scene));
    }
    tokio::select! {
        biased;
        Some(early) = scenes.join_next() => {
            panicked(early.map(drop));
            panic!("a scene ended before the blow");
        }
        _ = shared.ready.wait() => {}
    }
    let killed_at = strike(&shared).await;
    let api = go_on(&shared).await;
    struck.send_replace(Some(After { api, killed_at }));
    let mut begun = Vec::new();
    while let Some(ended) = scenes.join_next().await {
        match ended {
            Ok(scene) => begun.extend(scene.begun),
            Err(error) => panicked(Err(error)),
        }
    }
    check(&shared, begun).await;
}

/// A scene's panic is the test's.
fn panicked(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn strike(shared: &Shared) -> Timestamp {
    let mut fleet = shared.fleet.write().await;
    let victims = if shared.blow == Blow::Owner { 1 } else { fleet.coordinators.len() };
    let killing = fleet.coordinators[..victims].iter_mut().map(Process::kill9);
    futures::future::join_all(killing).await;
    SystemClock.now()
}

async fn go_on(shared: &Shared) -> Api {
    let mut fleet = shared.fleet.write().await;
    match shared.blow {
        Blow::Owner => fleet.api(1),
        Blow::All => fleet.add_coordinator().await,
    }
}

/// All logs, those of children too, by the library and by the program.
async fn check(shared: &Shared, begun: Vec<String>) {
    let fleet = shared.fleet.read().await;
    let (reader, mut all) = (fleet.reader(), begun);
    let mut next = 0;
    while let Some(id) = all.get(next).cloned() {
        let story = Story::of(&reader, &id).await;
        assert!(story.state().is_terminal(), "{story}");
        let mut children = story.children();
        children.retain(|child| !all.contains(child));
        all.extend(children);
        next += 1;
    }
    let (directory, database) = (fleet.directory(), fleet.database());
    for some in all.chunks(CHECKS) {
        let checks = some.iter().map(async |id| {
            let arguments = ["replay", id, "--verify", "--postgres", database, "-o", "json"];
            programs::run(directory, &arguments).await.exited(0);
        });
        futures::future::join_all(checks).await;
    }
    println!("{} executions verify after the blow to {:?}", all.len(), shared.blow);
}

impl Scene {
    /// Where its steps leave their marks.
    async fn file(&self) -> PathBuf {
        self.shared.fleet.read().await.file(self.name)
    }

    /// A task that rests for so many seconds, then leaves its mark.
    pub async fn mark(&self, mark: &str, rest: f32, more: Value) -> Value {
        let script = format!("sleep {rest}; echo {mark} >> '{}'", self.file().await.display());
        let mut node = json!({"task": "process", "with": {"argv": ["sh", "-c", script]}});
        let (Some(node_fields), Value::Object(more)) = (node.as_object_mut(), more) else { return node };
        node_fields.extend(more);
        node
    }

    /// How often this mark was left.
    pub async fn marks(&self, mark: &str) -> usize {
        let text = std::fs::read_to_string(self.file().await).unwrap_or_default();
        text.lines().filter(|line| *line == mark).count()
    }

    /// All marks in their order.
    pub async fn all_marks(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file().await).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The API of the coordinator that will be killed.
    pub async fn victim(&self) -> Api {
        self.api(0).await
    }

    /// Of the coordinator that lives on if only the owner is killed.
    pub async fn bystander(&self) -> Api {
        self.api(1).await
    }

    async fn api(&self, index: usize) -> Api {
        self.shared.fleet.read().await.api(index)
    }

    pub async fn reader(&self) -> Reader {
        self.shared.fleet.read().await.reader()
    }

    /// Makes a graph known to the fleet, for parents to name.
    pub async fn knows(&self, name: &str, nodes: Value) {
        let document = json!({"stepstream": 1, "name": name, "version": "1", "nodes": nodes});
        let api = self.victim().await;
        let answer = api.request(reqwest::Method::POST, "/v1/graphs").json(&document).send().await;
        let answer = answer.expect("the coordinator answers");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }

    /// Begins an execution of the coordinator that will be killed.
    pub async fn begin(&mut self, nodes: Value) -> String {
        self.begin_with(json!({"nodes": nodes}), &[]).await
    }

    pub async fn begin_with(&mut self, document: Value, breakpoints: &[&str]) -> String {
        let api = self.victim().await;
        let id = self.begin_at(&api, document, breakpoints).await;
        let owned = self.shared.fleet.read().await.driven_by("coordinator-0", std::slice::from_ref(&id)).await;
        assert_eq!(owned, 1, "whoever is asked for a new execution drives it");
        id
    }

    pub async fn begin_at(&mut self, api: &Api, mut document: Value, breakpoints: &[&str]) -> String {
        document["stepstream"] = json!(1);
        document["name"] = json!(self.name);
        let body = json!({"graph": document, "breakpoints": breakpoints});
        let answer = api.request(reqwest::Method::POST, "/v1/executions").json(&body).send().await;
        let answer: Value = answer.expect("the coordinator answers").json().await.expect("answers are JSON");
        let id = answer["execution_id"].as_str().unwrap_or_else(|| panic!("{}: {answer}", self.name)).to_owned();
        self.begun.push(id.clone());
        id
    }

    /// Whether the coordinator that will be killed drives this execution.
    pub async fn is_victims(&self, id: &str) -> bool {
        self.shared.fleet.read().await.driven_by("coordinator-0", &[id.to_owned()]).await == 1
    }

    /// Waits until the log says so.
    #[track_caller]
    pub fn until<T, C>(&self, id: &str, mut check: C) -> impl Future<Output = T> + use<T, C>
    where
        C: FnMut(&Loaded) -> Option<T>,
    {
        let (caller, id, shared, name) =
            (std::panic::Location::caller(), id.to_owned(), self.shared.clone(), self.name);
        async move {
            let reader = shared.fleet.read().await.reader();
            let (tenant, execution) = (TenantId::default_tenant(), id.parse().expect("an id"));
            let looking = async {
                loop {
                    if let Ok(loaded) = reader.load(&tenant, execution, None).await
                        && let Some(seen) = check(&loaded)
                    {
                        return seen;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            };
            match tokio::time::timeout(PATIENCE, looking).await {
                Ok(seen) => seen,
                Err(_) => panic!("{name}, {caller}: never happened: {}", Story::of(&reader, &id).await),
            }
        }
    }

    /// Waits until it is in a state of this name.
    #[track_caller]
    pub fn is(&self, id: &str, state: &'static str) -> impl Future<Output = ()> + use<> {
        self.until(id, move |loaded| (loaded.execution.state().name() == state).then_some(()))
    }

    /// Waits until so many steps of its graph have completed.
    #[track_caller]
    pub fn completed(&self, id: &str, steps: u32) -> impl Future<Output = ()> + use<> {
        self.until(id, move |loaded| (loaded.execution.counts().completed >= steps).then_some(()))
    }

    /// Waits until so many of its steps wait.
    #[track_caller]
    pub fn waits(&self, id: &str, steps: usize) -> impl Future<Output = ()> + use<> {
        self.until(id, move |loaded| (loaded.execution.waits().count() == steps).then_some(()))
    }

    /// Waits for its end in this state, and gives its log.
    #[track_caller]
    pub fn ends(&self, id: &str, state: &'static str) -> impl Future<Output = Story> + use<> {
        let (ended, shared, id) = (
            self.until(id, |loaded| loaded.execution.state().is_terminal().then_some(())),
            self.shared.clone(),
            id.to_owned(),
        );
        let caller = std::panic::Location::caller();
        async move {
            ended.await;
            let reader = shared.fleet.read().await.reader();
            let story = Story::of(&reader, &id).await;
            assert_eq!(story.state().name(), state, "{caller}: {story}");
            story
        }
    }

    /// A worker of another queue. It ends with what is returned.
    pub async fn worker_of(&self, queue: &str) -> Process {
        self.shared.fleet.read().await.launch_worker_of(queue, &format!("worker-of-{queue}"))
    }

    /// For what must happen right before the blow: waits until everybody else is prepared.
    pub async fn last_moment(&mut self) {
        if !std::mem::replace(&mut self.is_prepared, true) {
            self.shared.prepared.wait().await;
        }
    }

    /// Waits for the blow.
    pub async fn struck(&mut self) -> After {
        self.last_moment().await;
        self.shared.ready.wait().await;
        let mut after = self.shared.after.clone();
        let after = after.wait_for(Option::is_some).await.expect("the blow comes");
        after.clone().expect("just seen")
    }
}
