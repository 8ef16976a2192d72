//! Those who want something: each asks under a key of its own, and asks again, anybody, until it is answered.

use std::time::Duration;

use serde_json::json;
use stepstream_coordinator::ServiceError;
use stepstream_coordinator::service::{Ask, Start};
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::Steering;
use stepstream_shared::graph::LimitOverrides;
use stepstream_shared::id::ExecutionId;
use tokio::time::{sleep, timeout};

use crate::chance::Chance;
use crate::installation::Installation;
use crate::work::pool;

/// How long clients wait for an answer, in milliseconds, before they ask again, while the first request is on its way still.
const PATIENCE: [u64; 4] = [150, 1_000, 6_000, 20_000];
/// After this, whoever was asked is taken for dead.
const DEAD_AFTER: u64 = 6_000;

/// What one client does with one execution.
#[derive(Debug, Clone)]
pub struct Script {
    pub name: String,
    /// Of the pool.
    pub graph: usize,
    pub starts_after: Duration,
    /// So long after the answer to the one before, this.
    pub asks: Vec<(Duration, Steering)>,
    pub seed: u64,
}

impl Script {
    pub fn random(chance: &mut Chance, number: u64, graphs: &[usize]) -> Self {
        let graph = *chance.pick(graphs).unwrap_or(&0);
        let mut asks = Vec::new();
        let after = |chance: &mut Chance| Duration::from_millis(chance.below(2_500));
        if pool()[graph].waits {
            let signal = Steering::Signal { name: "go".to_owned(), correlation: None, payload: Data::default() };
            asks.push((after(chance), signal.clone()));
            if chance.percent(40) {
                asks.push((after(chance), signal));
            }
        }
        if chance.percent(25) {
            asks.push((after(chance), Steering::Pause { reason: "pause".to_owned() }));
            asks.push((after(chance), Steering::Resume { reason: None }));
        }
        if chance.percent(20) {
            asks.push((after(chance), Steering::Cancel { reason: "enough".to_owned() }));
        }
        Script { name: format!("k{number}"), graph, starts_after: after(chance), asks, seed: chance.next() }
    }
}

/// How a request ended.
enum Ended {
    Done,
    /// It means nothing as the execution stands; who asks knows.
    Refused,
}

/// One client, which learns who does not answer.
struct Caller {
    chance: Chance,
    shunned: Vec<String>,
}

/// Asks until there is an answer. A process that dies while it is asked leaves nobody knowing what became of it.
async fn insist<T>(
    installation: &Installation,
    caller: &mut Caller,
    what: impl AsyncFn(stepstream_coordinator::Service) -> Result<T, ServiceError>,
) -> Result<T, ServiceError> {
    loop {
        let mut coordinators = installation.coordinators();
        coordinators.retain(|each| !caller.shunned.contains(&each.process.name));
        let Some(asked) = caller.chance.pick(&coordinators).cloned() else {
            caller.shunned.clear();
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let patience = *caller.chance.pick(&PATIENCE).unwrap_or(&DEAD_AFTER);
        let answer = tokio::select! {
            biased;
            () = asked.process.died.cancelled() => None,
            answer = timeout(Duration::from_millis(patience), what(asked.service.clone())) => answer.ok(),
        };
        if answer.is_none() && (patience >= DEAD_AFTER || asked.process.is_dead()) {
            caller.shunned.push(asked.process.name.clone());
        }
        match answer {
            // An answer that a dead or stalled process never sent.
            Some(_) if asked.process.is_dead() => {}
            None | Some(Err(ServiceError::Unavailable(_))) => {}
            Some(answer) => return answer,
        }
        sleep(Duration::from_millis(caller.chance.between(50, 400))).await;
    }
}

/// Plays a script to its end, and says which execution it was.
pub async fn play(installation: Installation, script: Script) -> Option<ExecutionId> {
    let mut caller = Caller { chance: Chance::new(script.seed), shunned: Vec::new() };
    let world = installation.world.clone();
    sleep(script.starts_after).await;
    let graph = pool()[script.graph].graph.clone();
    let tenant = &installation.tenant;
    let inputs = Data::from_json(&json!({})).unwrap_or_default();
    let started = insist(&installation, &mut caller, async |service| {
        let start = Start {
            graph: graph.clone(),
            named: None,
            inputs: inputs.clone(),
            idempotency_key: Some(script.name.clone()),
            actor: Actor::User("client".to_owned()),
            trace: None,
            metadata: None,
            breakpoints: Vec::new(),
            limits: LimitOverrides::default(),
            background: None,
        };
        service.start(tenant, start).await
    })
    .await;
    let id = match started {
        Ok(started) => started.execution,
        Err(error) => {
            world.book().broken.push(format!("a start was refused: {error}"));
            return None;
        }
    };
    world.note("client", "started", 0, || format!("{} is {id}", script.name));
    world.book().acknowledged.push((id, script.name.clone()));
    for (number, (after, what)) in script.asks.iter().enumerate() {
        sleep(*after).await;
        let key = format!("{}-{number}", script.name);
        let answer = insist(&installation, &mut caller, async |service| {
            let ask = Ask { idempotency_key: Some(key.clone()), ..Ask::new("client", what.clone()) };
            match service.steer(tenant, id, ask).await {
                Ok(()) => Ok(Ended::Done),
                Err(ServiceError::Conflict(_) | ServiceError::NotThere(_) | ServiceError::Full(_)) => {
                    Ok(Ended::Refused)
                }
                Err(other) => Err(other),
            }
        })
        .await;
        match answer {
            Ok(Ended::Done) => {
                world.note("client", "done", number as u64, || format!("{key} {}", what.name()));
                world.book().acknowledged.push((id, key));
            }
            Ok(Ended::Refused) => world.note("client", "refused", number as u64, || format!("{key} {}", what.name())),
            Err(error) => world.book().broken.push(format!("{id}: `{key}` was answered with {error}")),
        }
    }
    Some(id)
}
