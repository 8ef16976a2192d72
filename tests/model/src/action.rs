//! What can happen next, and what follows from it.

use stateright::{Model, Property};

use crate::properties;
use crate::protocol::Protocol;
use crate::state::{COORDINATORS, Client, Coordinator, End, Log, Phase, State, Timer, Token, WORKERS, Worker};

/// Takeovers beyond this are not looked at: epochs without bound would have no end of states.
const MOST_EPOCHS: u8 = 9;

/// Whether something ran twice or more often is the same to every property.
const MOST_RUNS: u8 = 2;

/// `answered` says whether the answer arrives; without one, whoever asked asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    TakeOver {
        coordinator: u8,
    },
    CoordinatorDies {
        coordinator: u8,
    },
    Schedule {
        coordinator: u8,
    },
    Publish {
        coordinator: u8,
    },
    /// A coordinator takes a claim for dead.
    Expire {
        coordinator: u8,
    },
    Deliver {
        worker: u8,
        attempt: u8,
        incarnation: u8,
        position: u8,
    },
    Claim {
        coordinator: u8,
        worker: u8,
        answered: bool,
    },
    Run {
        worker: u8,
    },
    Report {
        coordinator: u8,
        worker: u8,
        answered: bool,
    },
    WorkerDies {
        worker: u8,
    },
    LoseJob {
        attempt: u8,
        incarnation: u8,
        position: u8,
    },
    ComeDue,
    Fire {
        coordinator: u8,
    },
    AskToCancel,
    Cancel {
        coordinator: u8,
        answered: bool,
    },
    SendSignal,
    Signal {
        coordinator: u8,
        answered: bool,
    },
    Copy,
    Restore,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.budget)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, each) in (0_u8..).zip(&state.coordinators) {
            self.of_coordinator(state, index, each, actions);
        }
        for (worker, each) in (0_u8..).zip(&state.workers) {
            match each {
                Worker::Idle => actions.extend(state.jobs.iter().map(|job| Action::Deliver {
                    worker,
                    attempt: job.attempt,
                    incarnation: job.incarnation,
                    position: job.position,
                })),
                Worker::Granted { .. } => actions.push(Action::Run { worker }),
                Worker::Asking { .. } | Worker::Reporting { .. } => {}
            }
            if *each != Worker::Idle && state.left.crashes > 0 {
                actions.push(Action::WorkerDies { worker });
            }
        }
        if state.left.losses > 0 {
            actions.extend(state.jobs.iter().map(|job| Action::LoseJob {
                attempt: job.attempt,
                incarnation: job.incarnation,
                position: job.position,
            }));
        }
        if self.has_timer && !state.due {
            actions.push(Action::ComeDue);
        }
        if self.has_cancel && state.canceller == Client::Silent {
            actions.push(Action::AskToCancel);
        }
        if self.has_signal && state.signaller == Client::Silent {
            actions.push(Action::SendSignal);
        }
        if state.left.restores > 0 {
            actions.push(if state.copy.is_none() { Action::Copy } else { Action::Restore });
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::TakeOver { coordinator } => {
                if state.is_owned() {
                    state.left.takeovers -= 1;
                }
                state.epoch += 1;
                if state.epoch > MOST_EPOCHS {
                    return None;
                }
                let (epoch, view) = (state.epoch, state.log);
                state.coordinators[usize::from(coordinator)] = Coordinator { epoch, view, ..Coordinator::NEW };
            }
            Action::CoordinatorDies { coordinator } => {
                state.left.crashes -= 1;
                state.coordinators[usize::from(coordinator)] = Coordinator::NEW;
            }
            Action::Schedule { coordinator } => self.schedule(&mut state, coordinator.into()),
            Action::Publish { coordinator } => {
                state.jobs.insert(job(&state.coordinators[usize::from(coordinator)].view));
            }
            Action::Expire { coordinator } => self.expire(&mut state, coordinator.into())?,
            Action::Deliver { worker, attempt, incarnation, position } => {
                let claim = if self.fresh_claims { state.unused_claim() } else { worker + 1 };
                let token = Token { attempt, incarnation, position };
                state.workers[usize::from(worker)] = match self.claims_first {
                    true => Worker::Asking { token, claim },
                    false => Worker::Granted { token, claim },
                };
            }
            Action::Claim { coordinator, worker, answered } => {
                self.claim(&mut state, coordinator.into(), worker, answered)?;
            }
            Action::Run { worker } => {
                let Worker::Granted { token, claim } = state.workers[usize::from(worker)] else { return None };
                let runs = state.runs.entry((token.attempt, token.incarnation)).or_default();
                *runs = (*runs + 1).min(MOST_RUNS);
                state.workers[usize::from(worker)] = Worker::Reporting { token, claim };
            }
            Action::Report { coordinator, worker, answered } => {
                self.report(&mut state, coordinator.into(), worker, answered)?;
            }
            Action::WorkerDies { worker } => {
                state.left.crashes -= 1;
                state.workers[usize::from(worker)] = Worker::Idle;
            }
            Action::LoseJob { attempt, incarnation, position } => {
                state.left.losses -= 1;
                state.jobs.remove(&Token { attempt, incarnation, position });
            }
            Action::ComeDue => state.due = true,
            Action::Fire { coordinator } => {
                let early = !state.due;
                let fired = self.append(&mut state, coordinator.into(), |log| {
                    log.timer = Timer::Fired;
                    log.firings += 1;
                });
                state.sins.fired_early |= fired && early;
            }
            Action::AskToCancel => state.canceller = Client::Asking,
            Action::Cancel { coordinator, answered } => self.cancel(&mut state, coordinator.into(), answered),
            Action::SendSignal => state.signaller = Client::Asking,
            Action::Signal { coordinator, answered } => self.signal(&mut state, coordinator.into(), answered),
            Action::Copy => state.copy = Some(state.log),
            Action::Restore => self.restore(&mut state)?,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}

/// The job of the present attempt.
fn job(log: &Log) -> Token {
    Token { attempt: log.attempt, incarnation: log.incarnation, position: log.scheduled }
}

impl Protocol {
    fn of_coordinator(&self, state: &State, coordinator: u8, this: &Coordinator, actions: &mut Vec<Action>) {
        // A partition without an owner is free; one with an owner that lives is taken only where a lease is misjudged.
        let is_owner = this.epoch > 0 && this.epoch == state.epoch;
        if !is_owner && (!state.is_owned() || state.left.takeovers > 0) {
            actions.push(Action::TakeOver { coordinator });
        }
        if this.epoch == 0 {
            return;
        }
        if state.left.crashes > 0 {
            actions.push(Action::CoordinatorDies { coordinator });
        }
        let view = &this.view;
        let goes_on = view.end.is_none();
        match view.phase {
            Phase::New if goes_on => actions.push(Action::Schedule { coordinator }),
            Phase::Scheduled if goes_on && self.may_publish(state, view) => {
                actions.push(Action::Publish { coordinator })
            }
            Phase::Claimed { worker, claim } if goes_on && state.may_expire(worker, claim) => {
                actions.push(Action::Expire { coordinator });
            }
            _ => {}
        }
        let knows_timer = view.timer == Timer::Set && (self.timers_in_log || this.set_timer);
        let fires = knows_timer || (!self.timers_once && view.timer == Timer::Fired && view.firings < 2);
        if self.has_timer && fires && goes_on && (state.due || !self.timers_when_due) {
            actions.push(Action::Fire { coordinator });
        }
        let may_lose = [true, false].into_iter().filter(|answered| *answered || state.left.losses > 0);
        for answered in may_lose {
            if state.canceller == Client::Asking {
                actions.push(Action::Cancel { coordinator, answered });
            }
            if state.signaller == Client::Asking {
                actions.push(Action::Signal { coordinator, answered });
            }
            for (worker, each) in (0_u8..).zip(&state.workers) {
                match each {
                    Worker::Asking { .. } => actions.push(Action::Claim { coordinator, worker, answered }),
                    Worker::Reporting { .. } => actions.push(Action::Report { coordinator, worker, answered }),
                    Worker::Idle | Worker::Granted { .. } => {}
                }
            }
        }
    }

    /// The job is not on the bus, and is not lost to a rule that was left out.
    fn may_publish(&self, state: &State, view: &Log) -> bool {
        !state.jobs.contains(&job(view)) && (self.redispatching || state.left.losses == self.budget.losses)
    }

    /// An append by a coordinator, decided on what it believes. Answers whether the store took it.
    fn append(&self, state: &mut State, coordinator: usize, change: impl FnOnce(&mut Log)) -> bool {
        let this = state.coordinators[coordinator];
        let is_stale = this.epoch != state.epoch;
        if (self.epochs && is_stale) || (self.sequences && this.view.sequence != state.log.sequence) {
            // Whatever it believed is thrown away; it owns nothing until it takes over again.
            state.coordinators[coordinator].epoch = 0;
            return false;
        }
        state.sins.accepted_epoch |= is_stale;
        let (before, mut next) = (this.view, this.view);
        change(&mut next);
        let complete = next.phase == Phase::Done
            && (!self.has_timer || next.timer == Timer::Fired)
            && (!self.has_signal || next.signals > 0);
        if complete && (next.end.is_none() || !self.finality) && before.end != Some(End::Completed) {
            next.end = Some(End::Completed);
            next.endings += 1;
        }
        // What happens once is counted in the log itself: a stale view does not know of it.
        let log = &state.log;
        next.completions = log.completions + (next.completions - before.completions);
        next.firings = log.firings + (next.firings - before.firings);
        next.signals = log.signals + (next.signals - before.signals);
        next.endings = log.endings + (next.endings - before.endings);
        next.goes_on = log.goes_on || log.end.is_some();
        next.sequence = log.sequence + 1;
        if next.attempt != before.attempt {
            next.scheduled = next.sequence;
        }
        state.log = next;
        state.coordinators[coordinator].view = next;
        true
    }

    /// The incarnation that new tokens name.
    fn stamp(&self, state: &State) -> u8 {
        if self.incarnations { state.incarnation } else { 0 }
    }

    fn schedule(&self, state: &mut State, coordinator: usize) {
        let (incarnation, has_timer) = (self.stamp(state), self.has_timer);
        let done = self.append(state, coordinator, |log| {
            log.attempt += 1;
            log.incarnation = incarnation;
            log.phase = Phase::Scheduled;
            if has_timer {
                log.timer = Timer::Set;
            }
        });
        state.coordinators[coordinator].set_timer = done && has_timer;
    }

    fn expire(&self, state: &mut State, coordinator: usize) -> Option<()> {
        let Phase::Claimed { worker, claim } = state.coordinators[coordinator].view.phase else { return None };
        if state.holds(worker, claim) {
            state.left.misjudged -= 1;
        }
        let incarnation = self.stamp(state);
        let held = self.at_most_once && !self.retrying_in_doubt;
        self.append(state, coordinator, |log| {
            if held {
                log.phase = Phase::InDoubt;
            } else {
                log.attempt += 1;
                log.incarnation = incarnation;
                log.phase = Phase::Scheduled;
            }
        });
        Some(())
    }

    /// Whether a coordinator may tell a worker "no", or knows less of the log than the worker.
    fn may_refuse(&self, state: &State, coordinator: usize, token: Token) -> bool {
        let view = &state.coordinators[coordinator].view;
        !self.positions || state.incarnation > token.incarnation || view.sequence >= token.position
    }

    fn refuse(state: &mut State, worker: u8, token: Token, claim: u8) {
        state.sins.fenced_holder |= state.log.end.is_none()
            && matches!(state.log.phase, Phase::Claimed { claim: holder, .. } if holder == claim);
        Self::dismiss(state, worker, token);
    }

    /// The worker acknowledges its job.
    fn dismiss(state: &mut State, worker: u8, token: Token) {
        state.workers[usize::from(worker)] = Worker::Idle;
        state.jobs.retain(|job| (job.attempt, job.incarnation) != (token.attempt, token.incarnation));
    }

    fn claim(&self, state: &mut State, coordinator: usize, worker: u8, answered: bool) -> Option<()> {
        let Worker::Asking { token, claim } = state.workers[usize::from(worker)] else { return None };
        if !answered {
            state.left.losses -= 1;
        }
        let view = state.coordinators[coordinator].view;
        let fits = view.end.is_none() && view.attempt == token.attempt && view.incarnation == token.incarnation;
        let granted = match view.phase {
            // Asked again by whom it was given to.
            Phase::Claimed { worker: holder, claim: given } if fits && holder == worker && given == claim => true,
            Phase::Scheduled if fits => {
                let phase = Phase::Claimed { worker, claim };
                if !self.append(state, coordinator, |log| log.phase = phase) {
                    return Some(()); // No answer: the worker asks again.
                }
                true
            }
            _ if !self.may_refuse(state, coordinator, token) => return None,
            _ => false,
        };
        match (granted, answered) {
            (true, true) => {
                let position = state.coordinators[coordinator].view.sequence;
                let token = Token { position, ..token };
                state.workers[usize::from(worker)] = Worker::Granted { token, claim };
            }
            (false, true) => Self::refuse(state, worker, token, claim),
            (_, false) => {}
        }
        Some(())
    }

    fn report(&self, state: &mut State, coordinator: usize, worker: u8, answered: bool) -> Option<()> {
        let Worker::Reporting { token, claim } = state.workers[usize::from(worker)] else { return None };
        if !answered {
            state.left.losses -= 1;
        }
        let view = state.coordinators[coordinator].view;
        let fits = !self.attempts
            || (view.attempt == token.attempt && (!self.incarnations || view.incarnation == token.incarnation));
        let holds = match view.phase {
            Phase::Claimed { claim: holder, .. } if self.claims && self.incarnations => holder == claim,
            Phase::Claimed { worker: holder, .. } if self.claims => holder == worker,
            Phase::Claimed { .. } => true,
            Phase::Scheduled => !self.claims_first,
            _ => false,
        };
        if !(fits && holds && (view.end.is_none() || !self.finality)) {
            if !self.may_refuse(state, coordinator, token) {
                return None;
            }
            if answered {
                Self::refuse(state, worker, token, claim);
            }
            return Some(());
        }
        let truth = state.log;
        let taken = self.append(state, coordinator, |log| {
            log.phase = Phase::Done;
            log.completions += 1;
        });
        if taken {
            let rightful = match truth.phase {
                Phase::Claimed { claim: holder, .. } => holder == claim,
                Phase::Scheduled => {
                    !self.claims_first && truth.attempt == token.attempt && truth.incarnation == token.incarnation
                }
                _ => false,
            };
            state.sins.accepted_another |= !rightful;
            if answered {
                Self::dismiss(state, worker, token);
            }
        }
        Some(())
    }

    fn cancel(&self, state: &mut State, coordinator: usize, answered: bool) {
        if !answered {
            state.left.losses -= 1;
        }
        let view = state.coordinators[coordinator].view;
        let carried_out = self.remembered_requests && view.end == Some(End::Cancelled);
        let done = if carried_out {
            true
        } else if view.end.is_some() && self.finality {
            false
        } else {
            let taken = self.append(state, coordinator, |log| {
                log.end = Some(End::Cancelled);
                log.endings += 1;
            });
            if !taken && self.durable_answers {
                return; // No answer: the client asks again.
            }
            true
        };
        if answered {
            let on_record = state.log.end == Some(End::Cancelled);
            state.sins.told_too_much |= done && !on_record;
            state.sins.told_too_little |= !done && on_record;
            state.canceller = Client::Told { done };
        }
    }

    fn signal(&self, state: &mut State, coordinator: usize, answered: bool) {
        if !answered {
            state.left.losses -= 1;
        }
        let this = state.coordinators[coordinator];
        let known = match (self.remembered_requests, self.remembering_in_memory) {
            (true, _) => this.view.signals > 0,
            (false, true) => this.took_signal,
            (false, false) => false,
        };
        let too_early = !self.early_signals && this.view.phase != Phase::Done;
        let done = if known || too_early {
            true
        } else if this.view.end.is_some() {
            false
        } else {
            let taken = self.append(state, coordinator, |log| log.signals += 1);
            state.coordinators[coordinator].took_signal |= taken;
            if !taken && self.durable_answers {
                return; // No answer: the client asks again.
            }
            true
        };
        if answered {
            let on_record = state.log.signals > 0;
            state.sins.told_too_much |= done && !on_record;
            state.sins.told_too_little |= !done && on_record;
            state.signaller = Client::Told { done };
        }
    }

    fn restore(&self, state: &mut State) -> Option<()> {
        state.left.restores -= 1;
        state.log = state.copy.take()?;
        state.incarnation += 1;
        if self.restamping && matches!(state.log.phase, Phase::Scheduled | Phase::Claimed { .. }) {
            state.log.attempt += 1;
            state.log.incarnation = state.incarnation;
            state.log.phase = Phase::Scheduled;
            state.log.sequence += 1;
            state.log.scheduled = state.log.sequence;
        }
        state.epoch += 1;
        for each in &mut state.coordinators {
            each.epoch = 0;
        }
        Some(())
    }
}

const _: () = assert!(COORDINATORS == 2 && WORKERS == 2, "the figures of the tests are for two and two");
