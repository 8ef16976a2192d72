//! What executions do: commands in, events and state out, no clock, no threads.
//!
//! Every scenario also checks what must hold of all of them (see [`scenario::Scenario`]): deciding and applying agree,
//! a refusal changes nothing, the log folds to the same state cold and from its stored bytes.

mod artifacts;
mod background;
mod children;
mod compensation;
mod control;
mod discovery;
mod doubts;
mod inbox;
mod inheritance;
mod inline;
mod joins;
mod lifecycle;
mod limits;
mod loops;
mod maps;
mod outcomes;
mod permits;
mod properties;
mod purse;
mod races;
mod reasons;
mod records;
mod rest;
mod retries;
mod routing;
mod scenario;
mod seed_actions;
mod seed_defects;
mod seed_limits;
mod seed_transitions;
mod spending;
mod standstill;
mod starting;
mod steering;
mod timeouts;
mod waits;
mod watching;
