//! Bytes that every later version must read as it reads them today.
//!
//! `UPDATE_GOLDEN=1` writes the files anew. After a release that is for new kinds only: a file that changes is a log
//! somewhere that cannot be read any more.
#![expect(clippy::disallowed_methods, reason = "the core does no I/O; its tests read their golden files")]

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use stepstream_shared::artifact::{ArtifactType, Compression};
use stepstream_shared::background::{
    Background, BackgroundMode, BackgroundRetry, BackgroundStatus, TargetBinding, TargetType, Transform,
};
use stepstream_shared::data::Data;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
use stepstream_shared::event::artifact::ArtifactRecord;
use stepstream_shared::event::{Actor, Causation, ChainHash, Envelope, EventData, Undone, Violation, codec};
use stepstream_shared::execution::{
    AfterEnd, CallbackReport, CallbackResult, Command, Execution, StartRequest, WaitReason,
};
use stepstream_shared::graph::{CompiledGraph, Graphs, LimitOverrides, Source, compile};
use stepstream_shared::id::{ArtifactId, ExecutionId, TenantId, ThreadId, TriggerId};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::{ClaimId, TraceContext};

use crate::kinds;

const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The golden text, after writing it if that was asked for.
fn golden(name: &str, now: &str) -> String {
    let path = file(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, now).expect("the golden folder is writable");
    }
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run with UPDATE_GOLDEN=1", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn hash_of(text: &str) -> ChainHash {
    unhex(text).try_into().expect("32 bytes")
}

/// Every way in which envelopes differ, spread over the kinds.
fn envelope(event: &EventData) -> Envelope {
    match event {
        EventData::ExecutionCreated { .. } => Envelope {
            at: NOON,
            actor: Actor::User("ada".to_owned()),
            causation: Causation::Command { name: "start".to_owned(), key: Some("order-17".to_owned()) },
            trace: Some(TraceContext {
                traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
                tracestate: Some("a=1".to_owned()),
            }),
        },
        EventData::StepRescheduled { .. } => {
            Envelope { at: NOON, actor: Actor::System, causation: Causation::Deadline, trace: None }
        }
        _ => Envelope {
            at: NOON,
            actor: Actor::Worker("worker-7f3a".to_owned()),
            causation: Causation::Outcome,
            trace: None,
        },
    }
}

fn meaning(envelope: &Envelope, events: &[EventData], hash: &ChainHash) -> Value {
    json!({
        "at": envelope.at,
        "actor": envelope.actor,
        "causation": envelope.causation,
        "trace": envelope.trace,
        "events": events,
        "hash": hex(hash),
    })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON") + "\n"
}

#[test]
fn every_kind_is_stored_in_the_same_bytes_for_ever() {
    for event in kinds::all() {
        let (kind, envelope) = (event.name(), envelope(&event));
        let encoded = codec::encode(&[7; 32], &envelope, vec![event.clone()], [1; 16]).unwrap();
        let bytes = golden(&format!("events/{kind}.hex"), &(hex(&encoded.body) + "\n"));
        assert_eq!(hex(&encoded.body), bytes.trim(), "{kind} is written as it always was");
        let now = meaning(&envelope, &[event], &encoded.hash);
        let kept: Value = serde_json::from_str(&golden(&format!("events/{kind}.json"), &pretty(&now))).unwrap();
        assert_eq!(now, kept, "{kind} means what it always meant");

        let stored = unhex(&bytes);
        let recorded = codec::decode(&stored).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let hash = hash_of(kept["hash"].as_str().unwrap());
        assert_eq!(meaning(&recorded.envelope, &recorded.events, &hash), kept, "{kind} is read as it always was");
        codec::verify(&[7; 32], &stored, &hash).unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

#[test]
fn every_kind_there_is_has_its_golden_files() {
    let tag = |event: &EventData| match serde_json::to_value(event).unwrap() {
        Value::Object(entries) => entries.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    };
    let mut known = kinds::tags();
    let mut golden: Vec<String> = kinds::all().iter().map(tag).collect();
    known.sort_unstable();
    golden.sort_unstable();
    assert_eq!(golden, known);

    let mut files: Vec<String> = std::fs::read_dir(file("events"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected: Vec<String> =
        kinds::all().iter().flat_map(|event| ["hex", "json"].map(|kind| format!("{}.{kind}", event.name()))).collect();
    files.sort_unstable();
    expected.sort_unstable();
    assert_eq!(files, expected, "no file is left of a kind that there is not any more");
}

/// Fields that came to a kind after its golden files were written.
#[test]
fn the_record_of_an_artifact_is_stored_in_the_same_bytes_for_ever() {
    let record = ArtifactRecord {
        name: "page.png".to_owned(),
        artifact_type: ArtifactType::Screenshot,
        content_type: "image/png".to_owned(),
        stored_bytes: Some(700),
        compression: Compression::Zstd,
        metadata: data(json!({"page": 1})),
    };
    let event = EventData::ArtifactStored {
        artifact: ArtifactId::from_bytes([15; 20]),
        step: None,
        content_hash: "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262".to_owned(),
        size_bytes: 1000,
        record: Some(Box::new(record)),
    };
    let encoded = codec::encode(&[7; 32], &envelope(&event), vec![event.clone()], [1; 16]).unwrap();
    let bytes = golden("artifact-record.hex", &(hex(&encoded.body) + "\n"));
    assert_eq!(hex(&encoded.body), bytes.trim());
    assert_eq!(codec::decode(&unhex(&bytes)).unwrap().events, [event]);
}

/// Fields that came to a kind after its golden files were written.
#[test]
fn a_warning_of_the_tenants_day_is_stored_in_the_same_bytes_for_ever() {
    let (limit, current, max, day) = (Violation::CostLimit, 8_100_000, 10_000_000, Some(20_446));
    let event = EventData::LimitWarned { limit, current, max, day };
    let encoded = codec::encode(&[7; 32], &envelope(&event), vec![event.clone()], [1; 16]).unwrap();
    let bytes = golden("tenant-warning.hex", &(hex(&encoded.body) + "\n"));
    assert_eq!(hex(&encoded.body), bytes.trim());
    assert_eq!(codec::decode(&unhex(&bytes)).unwrap().events, [event]);
}

/// A history with maps, loops, retries, holds, error edges and a skipped branch in it.
fn history() -> Value {
    let text = "
stepstream: 1
name: golden-1
limits: { max_steps: 100, wall_time: 1h }
nodes:
  fetch:
    task: http
    with: { url: '=inputs.url' }
    retry: { max_attempts: 3, backoff: constant, base: 2s, max: 2s }
    timeout: { schedule_to_start: 1m, start_to_close: 30s }
    next: [ { to: score }, { catch: any, to: sorry } ]
  score:
    map: { over: '=steps.fetch.output', max_concurrency: 2, collect: all_settled }
    task: score
    next: [ { when: '=size(output) > 5', to: sorry }, { to: polish } ]
  polish:
    task: polish
    with: '=iteration'
    max_iterations: 3
    next: [ { when: '=output < 2', to: polish }, { when: '=output >= 2', to: report } ]
  sorry: { join: any, transform: '=1', next: { to: report } }
  report: { join: all_settled, transform: \"={'rounds': steps.polish.iterations, 'scores': steps.score.output.size()}\" }
output: '=steps.report.output'
";
    let commands = vec![
        Command::Started { step: 0, attempt: 1, worker: worker(), claim: CLAIM },
        failed(0, ErrorCategory::NetworkError),
        Command::Tick { chance: 0.0 },
        completed(0, 2, json!([10, 20, 30])),
        Command::Pause { reason: "lunch".to_owned() },
        completed(2, 1, json!("a")),
        Command::Resume,
        failed(3, ErrorCategory::ValidationError),
        Command::Wait { reason: WaitReason::Approval },
        completed(4, 1, json!("c")),
        Command::Input { input: data(json!({"ok": true})) },
        Command::Record(Box::new(EventData::Custom {
            step: Some(6),
            event_type: "note".to_owned(),
            data: data(json!(1)),
        })),
        completed(6, 1, json!(1)),
        completed(7, 1, json!(2)),
    ];
    let (execution, history) = record("golden-1.yaml", text, [21; 20], commands);
    assert_eq!(execution.output().to_json(), json!({"rounds": 2, "scores": 3}));
    history
}

/// A race whose losers are a map and a step that waits for its retry, and a failure after which a map's item and a step
/// are undone, one of the two in vain.
fn history_of_races_and_undoing() -> Value {
    let text = "
stepstream: 1
name: golden-3
limits: { max_steps: 100, wall_time: 1h }
nodes:
  begin: { route: all, next: [ { to: many }, { to: slow }, { to: fast } ] }
  many: { map: { over: [1, 2, 3], max_concurrency: 2 }, task: score, undo: { task: unscore }, next: { to: won } }
  slow: { task: t, retry: { max_attempts: 3, base: 5s, max: 5s }, next: { to: slower } }
  slower: { task: t, next: { to: won } }
  fast: { task: t, undo: { task: t, with: '=output', retry: { max_attempts: 1 } }, next: { to: won } }
  won: { join: race, task: t, with: '=steps.fast.output' }
";
    let commands = vec![
        Command::Started { step: 5, attempt: 1, worker: worker(), claim: CLAIM },
        failed(2, ErrorCategory::NetworkError),
        completed(4, 1, json!("one")),
        completed(3, 1, json!({"id": 7})),
        failed(7, ErrorCategory::ValidationError),
        Command::Pause { reason: "lunch".to_owned() },
        failed(9, ErrorCategory::ToolError),
        Command::Resume,
        completed(10, 1, json!(null)),
    ];
    let (execution, history) = record("golden-3.yaml", text, [22; 20], commands);
    let undone = execution.compensation().map(|compensation| compensation.undone());
    assert_eq!(undone, Some(Undone { done: 1, failed: 1 }));
    history
}

const CLAIM: ClaimId = ClaimId(77);

fn worker() -> String {
    "worker-1".to_owned()
}

fn data(value: Value) -> Data {
    Data::from_json(&value).unwrap()
}

fn completed(step: u32, attempt: u32, output: Value) -> Command {
    Command::Completed { step, attempt, worker: worker(), claim: CLAIM, output: data(output), duration_us: 250 }
}

fn failed(step: u32, category: ErrorCategory) -> Command {
    Command::Failed {
        step,
        attempt: 1,
        worker: worker(),
        claim: CLAIM,
        error: ExecutionError::new(category, "down"),
        duration_us: 9,
        chance: 0.5,
    }
}

/// A deferred execution with all that can be asked for, its failure, and what is owed after it.
fn history_in_the_background() -> Value {
    let text = "
stepstream: 1
name: golden-background
nodes: { a: { task: t, next: [ { to: b } ] }, b: { task: t, retry: { max_attempts: 1 } } }
";
    let background = Background {
        mode: BackgroundMode::Deferred,
        priority: 70,
        timeout_ms: 60_000,
        run_at: Some(NOON.after(std::time::Duration::from_secs(1))),
        retry: Some(BackgroundRetry { max_attempts: 2, backoff_ms: 1500, multiplier: 2.5 }),
        callback_url: Some("https://example.org/done".to_owned()),
        target_binding: Some(TargetBinding {
            target: TargetType::Custom,
            path: Some("here".to_owned()),
            transform: Transform::JsonExtract,
            max_length: Some(40),
            json_path: Some("$.a[*].b".to_owned()),
            thread_id: Some(ThreadId::from_bytes([31; 20])),
            execution_id: Some(ExecutionId::from_bytes([32; 20])),
        }),
        trigger_id: Some(TriggerId::from_bytes([33; 20])),
        attempt: 2,
        first: Some(ExecutionId::from_bytes([34; 20])),
    };
    let report = |attempt, result, status| {
        let error = (result != CallbackResult::Delivered).then(|| "answered 500".to_owned());
        let report = CallbackReport { attempt, result, status: Some(status), error };
        Command::AfterEnd(Box::new(AfterEnd::Callback(report)))
    };
    let commands = vec![
        Command::Tick { chance: 0.0 },
        Command::Admit,
        completed(0, 1, json!(1)),
        failed(1, ErrorCategory::NetworkError),
        report(1, CallbackResult::Failed, 500),
        report(2, CallbackResult::Delivered, 200),
    ];
    let (execution, history) =
        record_with("golden-background.yaml", text, [30; 20], Some(Box::new(background)), commands);
    assert_eq!(execution.background_status(), Some(BackgroundStatus::Failed));
    history
}

fn record(name: &str, text: &str, id: [u8; 20], commands: Vec<Command>) -> (Execution, Value) {
    record_with(name, text, id, None, commands)
}

/// Two seconds between commands; each becomes a row.
fn record_with(
    name: &str,
    text: &str,
    id: [u8; 20],
    background: Option<Box<Background>>,
    commands: Vec<Command>,
) -> (Execution, Value) {
    let graph = Arc::new(compile(&Source { name, text }).unwrap_or_else(|error| panic!("{error}")));
    let graphs = Graphs::one(graph.clone());
    let (id, tenant) = (ExecutionId::from_bytes(id), TenantId::default_tenant());
    let request = StartRequest {
        graph: graph.digest,
        inputs: data(json!({"url": "https://example.org"})),
        planning: false,
        parent: None,
        origin: None,
        request_hash: Some(vec![5; 32]),
        metadata: None,
        breakpoints: Vec::new(),
        limits: LimitOverrides::default(),
        background,
        governed: false,
    };
    let commands = std::iter::once(Command::Create(Box::new(request))).chain(commands);
    let mut execution = Execution::empty(id, tenant.clone());
    let mut folding = execution.clone();
    let (mut head, mut rows, mut now) = (codec::genesis(&tenant, id), Vec::new(), NOON);
    for command in commands {
        let decided = execution
            .decide_in_place(&graphs, command.clone(), now)
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        now = now.after(std::time::Duration::from_secs(2));
        let envelope = Envelope { at: decided.at, actor: Actor::System, causation: Causation::Outcome, trace: None };
        let encoded = codec::encode(&head, &envelope, decided.events, [9; 16]).unwrap();
        let first = folding.sequence() + 1;
        let mut states = Vec::new();
        for event in codec::decode(&encoded.body).unwrap().into_events(first) {
            folding.apply(&graphs, &event).unwrap();
            states.push(json!({"event": event.data.name(), "state": hex(&folding.state_hash())}));
        }
        rows.push(
            json!({"first_sequence": first, "hash": hex(&encoded.hash), "body": hex(&encoded.body), "after": states}),
        );
        head = encoded.hash;
    }
    let version = execution.state_version();
    let history =
        json!({"execution": id, "tenant": tenant, "state_version": version, "graph": graph.canonical, "rows": rows});
    (execution, history)
}

#[test]
fn the_same_commands_give_the_same_history() {
    let histories = [
        ("history-2.json", history()),
        ("history-3.json", history_of_races_and_undoing()),
        ("history-background.json", history_in_the_background()),
    ];
    for (name, now) in histories {
        let kept: Value = serde_json::from_str(&golden(name, &pretty(&now))).unwrap();
        assert_eq!(now, kept, "{name}");
        folds(&kept);
    }
}

/// Nothing writes this file any more: its state has no clock of workers and failures yet, so only its meaning is compared.
#[test]
fn a_history_of_the_first_version_folds_for_ever() {
    let path = file("history-1.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("it is committed")).unwrap();
    let execution = folds(&kept);
    assert_eq!(execution.output().to_json(), json!({"rounds": 2, "scores": 3}));
}

/// Folds what is kept; the hashes of its states are compared where they are of this version.
fn folds(kept: &Value) -> Execution {
    let graph = Arc::new(
        CompiledGraph::from_canonical(kept["graph"].as_str().unwrap()).unwrap_or_else(|error| panic!("{error}")),
    );
    let graphs = Graphs::one(graph);
    let id: ExecutionId = kept["execution"].as_str().unwrap().parse().unwrap();
    let tenant: TenantId = kept["tenant"].as_str().unwrap().parse().unwrap();
    let mut head = codec::genesis(&tenant, id);
    let mut execution = Execution::empty(id, tenant);
    let comparable = kept["state_version"] == execution.state_version();
    for row in kept["rows"].as_array().unwrap() {
        let (body, hash) = (unhex(row["body"].as_str().unwrap()), hash_of(row["hash"].as_str().unwrap()));
        codec::verify(&head, &body, &hash).unwrap();
        let mut after = row["after"].as_array().unwrap().iter();
        for event in codec::decode(&body).unwrap().into_events(row["first_sequence"].as_u64().unwrap()) {
            execution.apply(&graphs, &event).unwrap();
            let expected = after.next().unwrap();
            assert_eq!(expected["event"], event.data.name());
            let state = hex(&execution.state_hash());
            assert!(!comparable || expected["state"] == state, "after event {}", event.sequence);
        }
        assert!(after.next().is_none());
        head = hash;
    }
    assert!(execution.state().is_terminal());
    execution
}
