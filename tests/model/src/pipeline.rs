//! An engine whose state in memory runs ahead of the log.
//!
//! Two clients ask for the same thing, of which one can have it, and ask again until they are answered. Two coordinators
//! decide in memory at once and hand the append to the store; its fate may stay unknown, it may land after its
//! coordinator has died, and the partition may change hands at any moment. The rules are those of
//! `coordinator/src/engine/commit.rs` and of `coordinator/src/store/group_commit/lane.rs`.

use stateright::{Model, Property};

/// Coordinators and clients.
const TWO: usize = 2;
/// Takeovers beyond this are not looked at.
const MOST_EPOCHS: u8 = 9;

/// The rules of the pipeline. [`Pipeline::default`] has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pipeline {
    pub epochs: bool,
    pub sequences: bool,
    /// "Done" is said when the append is durable.
    pub durable_answers: bool,
    /// "No" is said when the append that it rests on is durable.
    pub durable_refusals: bool,
    /// Jobs are published when the append that owes them is durable.
    pub durable_effects: bool,
    /// An append of which nobody knows whether it landed is given to the store again, which knows it by its hash.
    pub resolving: bool,
    /// A state in memory that no append made true is thrown away.
    pub discarding: bool,
    /// Whoever takes over reads the log after the epoch has changed.
    pub loading_late: bool,
    pub crashes: u8,
    pub unknown: u8,
    pub takeovers: u8,
}

impl Default for Pipeline {
    fn default() -> Self {
        Pipeline {
            epochs: true,
            sequences: true,
            durable_answers: true,
            durable_refusals: true,
            durable_effects: true,
            resolving: true,
            discarding: true,
            loading_late: true,
            crashes: 1,
            unknown: 1,
            takeovers: 2,
        }
    }
}

/// The log: who got what can be had once, as of each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Log {
    sequence: u8,
    winner: Option<u8>,
    /// How often somebody won.
    wins: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Append {
    epoch: u8,
    /// The last sequence that it follows.
    after: u8,
    winner: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Coordinator {
    epoch: u8,
    /// What it read before the epoch was its own, without `loading_late`.
    read: Option<Log>,
    memory: Log,
    on_its_way: Option<Append>,
    /// The store did not say what became of it.
    in_doubt: bool,
    /// Refusals that rest on what is on its way.
    refused: [bool; TWO],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    Asking,
    Told { done: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    epoch: u8,
    log: Log,
    /// Appends that landed: the store knows them again.
    landed: Vec<Append>,
    coordinators: [Coordinator; TWO],
    /// Of the dead: may still land.
    strays: Vec<Append>,
    clients: [Client; TWO],
    /// A job was published for this winner.
    published: [bool; TWO],
    crashes: u8,
    unknown: u8,
    takeovers: u8,
}

impl State {
    /// Both clients have been answered.
    pub fn is_over(&self) -> bool {
        self.clients.iter().all(|client| *client != Client::Asking)
    }

    fn is_owned(&self) -> bool {
        self.coordinators.iter().any(|each| each.epoch > 0 && each.epoch == self.epoch)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Read {
        coordinator: usize,
    },
    TakeOver {
        coordinator: usize,
    },
    Decide {
        coordinator: usize,
        client: usize,
    },
    Commit {
        coordinator: usize,
    },
    /// The store does not say; the append has landed or not.
    CommitUnknown {
        coordinator: usize,
        landed: bool,
    },
    Die {
        coordinator: usize,
    },
    StrayLands {
        stray: usize,
    },
}

/// What the store says.
#[derive(PartialEq, Eq)]
enum Answer {
    Stands,
    Refused,
}

impl Pipeline {
    fn store(&self, state: &mut State, append: Append) -> Answer {
        if state.landed.contains(&append) {
            return Answer::Stands;
        }
        let stale = self.epochs && append.epoch != state.epoch;
        if stale || (self.sequences && append.after != state.log.sequence) {
            return Answer::Refused;
        }
        state.log.sequence += 1;
        state.log.winner = Some(append.winner);
        state.log.wins += 1;
        state.landed.push(append);
        Answer::Stands
    }

    fn forget(&self, this: &mut Coordinator) {
        if self.discarding {
            *this = Coordinator::default();
        } else {
            *this = Coordinator { epoch: this.epoch, memory: this.memory, ..Coordinator::default() };
        }
    }

    fn stands(state: &mut State, coordinator: usize, append: Append) {
        let this = &mut state.coordinators[coordinator];
        this.on_its_way = None;
        this.in_doubt = false;
        let refused = std::mem::take(&mut this.refused);
        let winner = usize::from(append.winner);
        state.clients[winner] = Client::Told { done: true };
        state.published[winner] = true;
        for (client, _) in refused.iter().enumerate().filter(|(_, refused)| **refused) {
            state.clients[client] = Client::Told { done: false };
        }
    }

    fn decide(&self, state: &mut State, coordinator: usize, client: usize) -> Option<()> {
        let this = &mut state.coordinators[coordinator];
        match this.memory.winner {
            None => {
                let winner = u8::try_from(client).ok()?;
                let append = Append { epoch: this.epoch, after: this.memory.sequence, winner };
                this.memory.winner = Some(winner);
                this.memory.sequence += 1;
                this.on_its_way = Some(append);
                if !self.durable_answers {
                    state.clients[client] = Client::Told { done: true };
                }
                if !self.durable_effects {
                    state.published[client] = true;
                }
            }
            // Carried out before, or on its way: then its own append answers.
            Some(winner) if usize::from(winner) == client => {
                if this.on_its_way.is_some() {
                    return None;
                }
                state.clients[client] = Client::Told { done: true };
                state.published[client] = true;
            }
            Some(_) if this.on_its_way.is_some() && self.durable_refusals => {
                if std::mem::replace(&mut this.refused[client], true) {
                    return None;
                }
            }
            Some(_) => state.clients[client] = Client::Told { done: false },
        }
        Some(())
    }
}

impl Model for Pipeline {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            epoch: 0,
            log: Log::default(),
            landed: Vec::new(),
            coordinators: [Coordinator::default(); TWO],
            strays: Vec::new(),
            clients: [Client::Asking; TWO],
            published: [false; TWO],
            crashes: self.crashes,
            unknown: self.unknown,
            takeovers: self.takeovers,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (coordinator, this) in state.coordinators.iter().enumerate() {
            let is_owner = this.epoch > 0 && this.epoch == state.epoch;
            if !is_owner && (!state.is_owned() || state.takeovers > 0) {
                if !self.loading_late && this.read.is_none() {
                    actions.push(Action::Read { coordinator });
                } else {
                    actions.push(Action::TakeOver { coordinator });
                }
            }
            if this.epoch == 0 {
                continue;
            }
            if state.crashes > 0 {
                actions.push(Action::Die { coordinator });
            }
            for (client, _) in state.clients.iter().enumerate().filter(|(_, each)| **each == Client::Asking) {
                actions.push(Action::Decide { coordinator, client });
            }
            if this.on_its_way.is_some() {
                actions.push(Action::Commit { coordinator });
                if state.unknown > 0 {
                    actions.extend([true, false].map(|landed| Action::CommitUnknown { coordinator, landed }));
                }
            }
        }
        actions.extend((0..state.strays.len()).map(|stray| Action::StrayLands { stray }));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Read { coordinator } => state.coordinators[coordinator].read = Some(state.log),
            Action::TakeOver { coordinator } => {
                if state.is_owned() {
                    state.takeovers -= 1;
                }
                state.epoch += 1;
                if state.epoch > MOST_EPOCHS {
                    return None;
                }
                state.strays.extend(state.coordinators[coordinator].on_its_way);
                let memory = state.coordinators[coordinator].read.unwrap_or(state.log);
                state.coordinators[coordinator] = Coordinator { epoch: state.epoch, memory, ..Coordinator::default() };
            }
            Action::Decide { coordinator, client } => self.decide(&mut state, coordinator, client)?,
            Action::Commit { coordinator } => {
                let append = state.coordinators[coordinator].on_its_way?;
                match self.store(&mut state, append) {
                    Answer::Stands => Self::stands(&mut state, coordinator, append),
                    Answer::Refused => self.forget(&mut state.coordinators[coordinator]),
                }
            }
            Action::CommitUnknown { coordinator, landed } => {
                state.unknown -= 1;
                let append = state.coordinators[coordinator].on_its_way?;
                if landed && self.store(&mut state, append) == Answer::Refused {
                    return None;
                }
                if self.resolving {
                    state.coordinators[coordinator].in_doubt = true; // Given again.
                } else {
                    Self::stands(&mut state, coordinator, append); // Hoped for.
                }
            }
            Action::Die { coordinator } => {
                state.crashes -= 1;
                state.strays.extend(state.coordinators[coordinator].on_its_way);
                state.coordinators[coordinator] = Coordinator::default();
            }
            Action::StrayLands { stray } => {
                let append = state.strays.remove(stray);
                self.store(&mut state, append);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what can be had once is had once", |_, state: &State| state.log.wins <= 1),
            Property::always("what a client is told done is on record", |_, state: &State| {
                (0..TWO).all(|client| {
                    state.clients[client] != Client::Told { done: true }
                        || state.log.winner.map(usize::from) == Some(client)
                })
            }),
            Property::always("a refusal rests on the record", |_, state: &State| {
                (0..TWO).all(|client| {
                    state.clients[client] != Client::Told { done: false }
                        || state.log.winner.is_some_and(|winner| usize::from(winner) != client)
                })
            }),
            Property::always("what is published is on record", |_, state: &State| {
                (0..TWO).all(|client| !state.published[client] || state.log.winner.map(usize::from) == Some(client))
            }),
            Property::sometimes("both are answered", |_, state: &State| state.is_over()),
        ]
    }
}
