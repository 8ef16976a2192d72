//! Looking at all states.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Different states seen.
    pub states: usize,
    /// Properties that do not hold, each with the shortest way there, in actions.
    pub broken: Vec<(&'static str, usize)>,
    /// What must be possible and was not seen.
    pub never: Vec<&'static str>,
}

impl Found {
    pub fn is_sound(&self) -> bool {
        self.broken.is_empty() && self.never.is_empty()
    }

    pub fn breaks(&self, property: &str) -> bool {
        self.broken.iter().any(|(name, _)| *name == property)
    }
}

/// Looks at every state of a model, breadth first; with `until` only until this property is broken.
pub fn explore<M>(model: &M, until: Option<&'static str>) -> Found
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + PartialEq + std::hash::Hash + Send + Sync,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    let mut builder = model.clone().checker().threads(1);
    if let Some(property) = until {
        builder = builder.finish_when(HasDiscoveries::AnyOf([property].into()));
    }
    let checker = builder.spawn_bfs().join();
    let mut found = Found { states: checker.unique_state_count(), broken: Vec::new(), never: Vec::new() };
    for property in model.properties() {
        match (&property.expectation, checker.discovery(property.name)) {
            (Expectation::Always, Some(path)) => found.broken.push((property.name, path.into_actions().len())),
            (Expectation::Sometimes, None) if until.is_none() => found.never.push(property.name),
            _ => {}
        }
    }
    found
}

/// States from which none of those can be reached any more that count as over, whatever happens.
pub fn stuck<M>(model: &M, is_over: impl Fn(&M::State) -> bool) -> usize
where
    M: Model,
    M::State: Clone + Eq + std::hash::Hash,
{
    let mut known: HashMap<M::State, usize> = HashMap::new();
    let mut states: Vec<M::State> = Vec::new();
    let mut before: Vec<Vec<usize>> = Vec::new();
    for state in model.init_states() {
        known.insert(state.clone(), states.len());
        states.push(state);
        before.push(Vec::new());
    }
    let mut next = 0;
    let mut actions = Vec::new();
    while next < states.len() {
        let state = states[next].clone();
        model.actions(&state, &mut actions);
        for action in actions.drain(..) {
            let Some(follower) = model.next_state(&state, action) else { continue };
            let place = match known.entry(follower) {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(vacant) => {
                    states.push(vacant.key().clone());
                    before.push(Vec::new());
                    *vacant.insert(states.len() - 1)
                }
            };
            before[place].push(next);
        }
        next += 1;
    }
    let mut saved: Vec<bool> = states.iter().map(is_over).collect();
    let mut look: Vec<usize> = (0..states.len()).filter(|place| saved[*place]).collect();
    while let Some(place) = look.pop() {
        for earlier in &before[place] {
            if !std::mem::replace(&mut saved[*earlier], true) {
                look.push(*earlier);
            }
        }
    }
    saved.iter().filter(|saved| !**saved).count()
}
