//! An execution: the fold of its log, and the decisions that extend it.
//!
//! [`Execution::apply`] is the only code that changes an execution. [`Execution::decide`] looks at one, takes a command
//! and the time, and answers with the events that follow; it applies each event it emits as it goes, so one command
//! yields its whole consequence. What the outside is still owed is computed from state: [`Execution::owed`],
//! [`Execution::next_deadline`].
//!
//! ```text
//!   command + now ──decide──▶ events ──(the shell stores them)──▶ owed ──▶ jobs on the bus
//!                                │
//!                              apply  ◀── the same events again, on any machine, for ever
//! ```
//!
//! The parts: [`lifecycle`] the table of legal moves of an execution, [`step`] that of a step, [`state`] what is held,
//! [`apply`] how each event changes it, [`flow`] how edges, joins and loops carry an execution on, [`decide`] what
//! follows a command, [`steering`] what people and programs outside may ask for, [`advance`] what follows from what is
//! ready, [`background`] how those run that nobody stands by, [`scope`] what expressions see, [`race`] who loses one, [`compensation`] how what was done is undone, `permits` what attempts share with other executions, [`owed`] what the
//! outside must still do, and [`hash`] how two states are compared.

pub mod advance;
pub mod apply;
mod artifacts;
pub mod background;
pub mod children;
pub mod compensation;
pub mod decide;
pub mod doubts;
pub mod flow;
mod frames;
pub mod hash;
mod idle;
mod inbox;
mod inheritance;
mod kept;
pub mod lifecycle;
mod limits;
mod notes;
pub mod owed;
pub mod permits;
mod purse;
pub mod race;
pub mod scope;
mod standstill;
pub mod state;
pub mod steering;
pub mod step;
mod taking_in;
mod waiting;

pub use apply::ApplyError;
pub use artifacts::{KeptArtifact, input_name};
pub use background::{
    AfterEnd, BackgroundRun, Bound, CALLBACK_WAITS, CallbackReport, CallbackResult, CallbackRun, CallbackState,
    NextAttempt,
};
pub use children::ChildSpec;
pub use compensation::Compensation;
pub use decide::{Command, Decided, Rejection, StartRequest};
pub use doubts::{POISON, Verdict};
pub use inheritance::Bequest;
pub use lifecycle::{ExecutionAction, ExecutionState, IllegalTransition, WaitReason};
pub use owed::{Asked, JobSpec, Rest};
pub use permits::{EXECUTION_PERMIT, PermitSpec, PermitStanding};
pub use state::{ChildRun, Counts, Decisions, Execution, Step, Usage, WaitRun};
pub use steering::{Refusal, Steer, Steering};
pub use step::{StepAction, StepState};

#[cfg(test)]
mod tests;
